"""Drive the checks: one task per checked backend of a service, results as they change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping

from xdplb.desired import Health, Key
from xdplb.health.check import Probe, ProbeEnded, Report, RiseFall, Start
from xdplb.health.probe import Target, probe
from xdplb.model import Address, Check

log = logging.getLogger("xdplb")

JITTER = 0.1  # share of the interval by which probes spread, so that they do not march in step

Wanted = Mapping[Key, tuple[Check, Address]]


class Watch:
    """Checks of a changing set of backends; `health` holds what they found."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called, in the event loop, after `health` has changed."""
        self.health: dict[Key, Health] = {}
        self._changed = changed
        self._tasks: dict[Key, tuple[tuple[Check, Address], asyncio.Task[None]]] = {}
        self._hurry: dict[Key, asyncio.Event] = {}  # set: do not wait for the next probe

    def follow(self, wanted: Wanted, known: Mapping[Key, Health] | None = None) -> None:
        """Check exactly these backends; `known` is what was found before, and where a new check starts from."""
        for key in [k for k, (what, _) in self._tasks.items() if wanted.get(k) != what]:
            self._tasks.pop(key)[1].cancel()
            if key not in wanted:
                self.health.pop(key, None)
                self._hurry.pop(key, None)
        for key, (check, address) in wanted.items():
            if key not in self._tasks:
                if known and key in known:
                    self.health[key] = known[key]
                self._hurry[key] = asyncio.Event()
                task = asyncio.create_task(self._run(key, check, address))
                task.add_done_callback(_report)
                self._tasks[key] = ((check, address), task)

    def suspect(self, key: Key, cause: str) -> None:
        """Probe this backend now, since something speaks against it."""
        if key in self._hurry:
            log.info("%s/%s is probed at once: %s", *key, cause)
            self._hurry[key].set()

    async def wait_first(self, timeout_s: float) -> bool:
        """Return when every check has a result, or after the timeout; tell whether there was one to wait for."""
        loop = asyncio.get_running_loop()
        until, waited = loop.time() + timeout_s, False
        while any(key not in self.health for key in self._tasks) and loop.time() < until:
            waited = True
            await asyncio.sleep(0.002)
        return waited

    async def close(self) -> None:
        """Stop all checks."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    async def _run(self, key: Key, check: Check, address: Address) -> None:
        machine = RiseFall(check.interval_s, check.rise, check.fall)
        known = self.health.get(key)
        effects = machine.handle(Start(known.up if known else None))
        while True:
            for effect in effects:
                if isinstance(effect, Report):
                    self.health[key] = Health(effect.up, effect.cause)
                    self._changed()
                elif isinstance(effect, Probe):
                    ended = await self._probe(effect, check, address, self._hurry[key])
            self._note(key, machine, ended)
            effects = machine.handle(ended)

    async def _probe(self, effect: Probe, check: Check, address: Address, hurry: asyncio.Event) -> ProbeEnded:
        if effect.after_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(effect.after_s * random.uniform(1 - JITTER, 1 + JITTER)):
                    await hurry.wait()
        hurry.clear()
        return await probe(check, Target(address, check.port))

    def _note(self, key: Key, machine: RiseFall, ended: ProbeEnded) -> None:
        """Keep the latest cause for people, as long as it agrees with what is believed."""
        if ended.passed == machine.up:
            self.health[key] = Health(machine.up, ended.cause)


def _report(task: asyncio.Task[None]) -> None:
    """A check that ends by itself is a bug: say so loudly."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("a check has ended", exc_info=error)
