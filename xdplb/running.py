"""Which configuration is in force: the file's, or one that was applied, for good or until somebody confirms it.

How one is taken up: `reload`. The file on disk is what the next start takes; so whatever else is in force is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xdplb.config import parse_config, read_file
from xdplb.desired import Overrides, overrides_to_json
from xdplb.errors import ConfigError, DaemonError, XdplbError
from xdplb.logs import log_event
from xdplb.model import Config, Reload
from xdplb.operators import forget_said
from xdplb.reload import Taken
from xdplb.watching import LOOK_S, Still, sign

if TYPE_CHECKING:
    from xdplb.daemon import Daemon

log = logging.getLogger("xdplb")

AGAIN_S = 5.0  # until taking back what was not confirmed is tried again, if it could not be


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a configuration, and from which file it was applied; None: it is the daemon's own."""

    text: str
    applied_from: Path | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """What comes back unless it is confirmed, and when (monotonic)."""

    before: Source
    until: float
    said: frozenset[str]  # prefixes: see `Wanted`
    work: asyncio.Task[None]


class Running:
    """The configuration in force in one daemon. `error`: why another one is not."""

    def __init__(self, daemon: Daemon, text: str, given: str | None) -> None:
        """`given` is the balancer's name where it was typed: files need not say it."""
        self._daemon, self._given = daemon, given
        self.source = Source(text)
        self.taken_up = time.time()
        self.error: dict[str, Any] | None = None
        self.pending: Pending | None = None
        self._said: frozenset[str] = frozenset()
        self._still = Still(sign(self._files(daemon.config)))
        self._lock = asyncio.Lock()
        self._named: tuple[Source, Overrides, str] | None = None

    @property
    def revision(self) -> str:
        """A name of the configuration in force with all run-time changes: equal names are equal content."""
        source, overrides = self.source, self._daemon.kept.overrides
        if self._named is None or self._named[0] is not source or self._named[1] is not overrides:
            content = json.dumps([source.text, str(source.applied_from), overrides_to_json(overrides)], sort_keys=True)
            self._named = source, overrides, hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
        return self._named[2]

    def parse(self, text: str) -> Config:
        """Return what the text of a configuration says. Raises ConfigError."""
        return self._rename(parse_config(text))

    def _rename(self, config: Config) -> Config:
        return replace(config, balancer=replace(config.balancer, name=self._given)) if self._given else config

    # --- change ---------------------------------------------------------------------------------------------

    async def reload(self) -> Taken:
        """Take up the daemon's own file. Raises XdplbError, and then everything is as before."""
        async with self._lock:
            self._refuse_pending()
            path, seen = self._daemon.path, sign(self._files(self._daemon.config))
            self._still.take(seen)
            try:
                text, config = read_file(path)
                taken = await self._take_up(Source(text), self._rename(config), None)
            except XdplbError as error:
                self._failed(f"{path} was not taken up: {error}")
                raise
            now = sign(self._files(self._daemon.config))  # its lists may be in other files now
            if seen and now and seen[0] == now[0]:
                self._still.take(now)
            return taken

    async def apply(self, text: str, path: Path | None, confirm_s: float | None, allow_down: Collection[str]) -> Taken:
        """Take up this text, read from `path`. Raises XdplbError, and then everything is as before.

        With `confirm_s`, what was before comes back after so many seconds unless it is confirmed.
        """
        async with self._lock:
            self._refuse_pending()
            config, before = self.parse(text), self.source
            own = path is None or path == self._daemon.path
            source = Source(text, None if own else path)
            try:
                taken = await self._take_up(source, config, allow_down, for_good=confirm_s is None)
            except ConfigError:
                raise
            except XdplbError as error:
                self._failed(f"{path or 'a configuration'} was not applied: {error}")
                raise
            if confirm_s is not None:
                work = asyncio.create_task(self._take_back(confirm_s))
                self.pending = Pending(before, time.monotonic() + confirm_s, self._said, work)
            return taken

    async def _take_up(
        self, source: Source, config: Config, allow_down: Collection[str] | None, for_good: bool = True
    ) -> Taken:
        daemon, began = self._daemon, time.monotonic()
        folder = (source.applied_from or daemon.path).parent
        wanted = await daemon.reload.prepare(config, folder)
        taken = await daemon.reload.take_up(wanted, allow_down)
        self.source, self.taken_up, self.error, self._said = source, time.time(), None, wanted.said
        if for_good and source.applied_from is None:  # what the file says need not be said beside it
            self._forget_said(wanted.said)
        else:
            daemon.saving.soon()
        took_s = time.monotonic() - began
        path = str(source.applied_from or daemon.path)
        text = f"took up {path}: {taken.writes} map entries, {took_s:.2f} s"
        log_event(log, logging.INFO, "config", text, path=path, writes=taken.writes, took_s=round(took_s, 3))
        return taken

    def _forget_said(self, prefixes: Collection[str]) -> None:
        """Forget the run-time changes that the file says itself."""
        daemon = self._daemon
        daemon.kept.overrides = forget_said(daemon.config, daemon.kept.overrides, prefixes)
        daemon.save()

    def _failed(self, what: str) -> None:
        self.error = {"at": time.time(), "what": what}
        log_event(log, logging.ERROR, "config_refused", f"{what}; the configuration before goes on", cause=what)

    def _refuse_pending(self) -> None:
        if self.pending:
            left = self.pending.until - time.monotonic()
            fix = "run `xdplb confirm`, or wait until it is taken back"
            raise ConfigError("config", f"what was applied last is not confirmed ({left:.0f} s left)", fix)

    # --- confirm --------------------------------------------------------------------------------------------

    def confirm(self) -> bool:
        """Have what was applied stay; tell whether it waited for that. Raises DaemonError when it is too late."""
        if self.pending is None:
            return False
        if self._lock.locked():
            raise DaemonError("it was not confirmed in time: the configuration before is being put back")
        self.pending.work.cancel()
        said, self.pending = self.pending.said, None
        if self.source.applied_from is None:
            self._forget_said(said)
        return True

    async def _take_back(self, seconds: float) -> None:
        """Put back what was before, when nobody has confirmed; the file on disk is nobody's but the operator's."""
        await asyncio.sleep(seconds)
        while self.pending:
            before = self.pending.before
            async with self._lock:
                try:
                    await self._take_up(before, self.parse(before.text), None, for_good=False)
                except XdplbError as error:
                    self._failed(f"what was not confirmed could not be taken back: {error}")
                else:
                    self.pending = None
                    self._failed(f"what was applied was not confirmed within {seconds:g} s")
                    return
            await asyncio.sleep(AGAIN_S)

    # --- the file -------------------------------------------------------------------------------------------

    def _files(self, config: Config) -> list[Path]:
        path, guard = self._daemon.path, config.guard
        return [path, *(path.parent / name for name in (guard.block_file, guard.allow_file) if name)]

    async def watch(self) -> None:
        """Take up the file whenever it has changed, for ever, where the configuration in force wants that."""
        while True:
            await asyncio.sleep(LOOK_S)
            config = self._daemon.config
            if config.balancer.reload is not Reload.WATCH or self.pending:
                continue
            if self._still.changed(await asyncio.to_thread(sign, self._files(config))):
                try:
                    await self.reload()
                except XdplbError:
                    continue  # it is told; the next change is another try

    def close(self) -> None:
        """Take nothing back any more: the next start takes the file."""
        if self.pending:
            self.pending.work.cancel()

    # --- for people -----------------------------------------------------------------------------------------

    def warnings(self) -> list[str]:
        """Return what the operator should mend."""
        found = [self.error["what"]] if self.error else []
        if (applied := self.source.applied_from) and not self.pending:
            found.append(f"a restart reads {self._daemon.path}; copy {applied} there to keep what runs now")
        return found

    def status(self) -> dict[str, Any]:
        """Return `config` of the status document."""
        applied = self.source.applied_from
        return {
            "path": str(self._daemon.path),
            "applied_from": str(applied) if applied else None,
            "taken_up": self.taken_up,
            "revision": self.revision,
            "error": self.error,
            "doing": self._daemon.reload.doing,
            "changes": self._daemon.kept.overrides.describe(),
        }

    def document(self) -> dict[str, Any]:
        """Return the text in force, too, and the run-time changes as JSON values."""
        overrides = overrides_to_json(self._daemon.kept.overrides)
        return {**self.status(), "text": self.source.text, "overrides": overrides, "unconfirmed": self.unconfirmed()}

    def unconfirmed(self) -> dict[str, Any] | None:
        """Return what happens when nobody confirms, and when."""
        if self.pending is None:
            return None
        left_s = max(0.0, self.pending.until - time.monotonic())
        return {"left_s": left_s, "then": "puts the configuration before back", "failures": []}
