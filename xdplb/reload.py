"""Take up another configuration while the balancer runs: all of it or nothing.

First it is found out what may be wrong with it, and what it needs is compiled. Then ways and first results of probes
are waited for, while packets go the old way; last, program and tables change, in the order that `reconcile` knows to
be safe. Whatever fails puts back what was. From the second step on nobody else reconciles: a check's result waits for
that second, packets wait for nothing.

Only where an interface takes another's number among them (one before it was taken away), packets of some milliseconds
may leave by the wrong one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xdplb.desired import DesiredService, Health, Key, desire, keys_of
from xdplb.errors import ConfigError, RefusedError, XdplbError
from xdplb.guard import Lists, check_room, read_files
from xdplb.health.check import Memory
from xdplb.health.watch import boot_time
from xdplb.links import Numbers
from xdplb.logs import log_event
from xdplb.model import Address, Balancer, Config
from xdplb.net import interface_index
from xdplb.plan import left_down, moved_slots, owners
from xdplb.tables import Tables
from xdplb.tunnel import Settings

if TYPE_CHECKING:
    from xdplb.daemon import Daemon

log = logging.getLogger("xdplb")

_FILES = ("certificate", "key", "client_ca")  # of the API's TLS; their content may change at any time
FIRST_LOOK_S = 1.0  # how long the new neighbours and the first probes of new backends are waited for


@dataclass(frozen=True, slots=True)
class Wanted:
    """A configuration with what follows from it and from the box: see `prepare`. `interfaces`: 0 for a vanished one."""

    config: Config
    lists: Lists
    secret: str
    interfaces: Numbers
    said: frozenset[str] = frozenset()  # prefixes whose run-time change the lists of the file say already


@dataclass(frozen=True, slots=True)
class Taken:
    """What taking up a configuration came to, as it was measured."""

    writes: int
    slots_moved: Mapping[str, int]
    took_s: float


def tunnel_settings(balancer: Balancer) -> Settings:
    """Return what all outer headers have in common."""
    bits = [s.max_prefixlen - s.prefixlen if s else 0 for s in (balancer.source4, balancer.source6)]
    return Settings(balancer.dont_fragment, *bits)


def sources(balancer: Balancer) -> dict[int, Address | None]:
    """Return the sources of outer headers by version, where they are given."""
    return {int(v): s.network_address if s else None for v, s in ((4, balancer.source4), (6, balancer.source6))}


def keep_same(before: Config, after: Config) -> Config:
    """Return `after`, made of the objects of `before` where they are equal: whoever compares sees it at once."""
    known = {service.name: service for service in before.services}
    services = tuple(known[s.name] if known.get(s.name) == s else s for s in after.services)
    balancer = before.balancer if before.balancer == after.balancer else after.balancer
    return replace(after, balancer=balancer, services=services)


class Reload:
    """How one daemon takes up configurations. `doing` says in a phrase what it is at, for people who wait."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.doing = ""

    async def prepare(self, config: Config, folder: Path) -> Wanted:
        """Find out what can be known to be wrong with a configuration; nothing is changed. Raises XdplbError.

        Files of its lists are sought from the folder.
        """
        daemon = self._daemon
        self._same_place(config.balancer)
        self._same_doors(config)
        lists = await asyncio.to_thread(read_files, config.guard, folder)
        said = lists.said(daemon.kept.overrides.prefixes)
        lists.put_all(daemon.kept.overrides.prefixes)
        check_room(config.guard, lists)
        known = daemon.network.interfaces
        try:
            interfaces = {n: known[n] if n in known else interface_index(n) for n in config.balancer.interfaces}
            for name in interfaces.keys() - known.keys():
                await daemon.forwarding.refuse_other(interfaces[name])
        except RefusedError as error:
            raise ConfigError("balancer.interface", str(error)) from None
        return Wanted(keep_same(daemon.config, config), lists, daemon.secret_of(config), interfaces, said)

    def _same_place(self, balancer: Balancer) -> None:
        """Refuse what would need a program, pins and a socket of another place. Raises ConfigError."""
        now = self._daemon.config.balancer
        if balancer.name != now.name:
            fix = "restart the daemon with it, or give the name that it has"
            raise ConfigError("balancer.name", f"{balancer.name!r}, and {now.name!r} is running", fix)
        if balancer.mode is not now.mode:
            fix = "restart the daemon with it: the program has to be taken off for a moment"
            raise ConfigError("balancer.mode", f'"{balancer.mode}", and "{now.mode}" is attached', fix)
        if self._daemon.forwarding.trial:
            raise ConfigError("config", "what `run --confirm` attached is not confirmed", "run `xdplb confirm` first")

    def _same_doors(self, config: Config) -> None:
        """Refuse other TCP sockets: they are bound at a start only. Raises ConfigError."""
        now = self._daemon.config
        given = [(f"admin.{name}", config.admin, now.admin, name) for name in ("listen", *_FILES)]
        for key, new, old, name in [*given, ("metrics.listen", config.metrics, now.metrics, "listen")]:
            if getattr(new, name) != getattr(old, name):
                fix = "restart the daemon with it"
                raise ConfigError(key, "is not what the daemon was started with", fix)

    async def take_up(self, wanted: Wanted, allow_down: Collection[str] | None) -> Taken:
        """Have this configuration instead of the present one. Raises XdplbError, and then nothing has changed.

        `allow_down`: services of which no backend need be up; None: all.
        """
        daemon, began = self._daemon, time.monotonic()
        await self._compile(wanted)
        async with daemon.turn:
            before, now = daemon.wanted(), daemon.forwarding
            old, written, services = now.copy_tables(), now.written, daemon.services
            health, memories = dict(daemon.checks.health), dict(daemon.checks.watch.memories)
            wanted.lists.put_all(daemon.kept.overrides.prefixes)  # what has changed since, too
            try:
                daemon.put(wanted)
                after = await self._look_ahead(before, wanted)
                _refuse_down(left_down(services, after), allow_down)
                await self._enact(before, wanted, after)
            except Exception:
                await self._put_back(before, wanted, health, memories)
                raise
            finally:
                self.doing = ""
            self._follow(after)
            moved = await asyncio.to_thread(_moved, old, now.copy_tables(), after)
        return Taken(now.written - written, moved, time.monotonic() - began)

    async def _compile(self, wanted: Wanted) -> None:
        """Have what is needed compiled before anybody has to wait for it. Raises KernelError."""
        daemon, self.doing = self._daemon, "compiling what is needed"
        known = daemon.forwarding.kernel.spec
        try:
            await daemon.forwarding.prepare(daemon.spec_of(wanted.config, daemon.kept.overrides, known, wanted.lists))
        finally:
            self.doing = ""

    async def _look_ahead(self, before: Wanted, wanted: Wanted) -> tuple[DesiredService, ...]:
        """Find ways to new backends and what their checks say, for a bounded time; return what is desired then."""
        daemon, backends = self._daemon, list(keys_of(wanted.config.services, self._daemon.kept.overrides))
        self.doing = f"finding the ways to {len(backends):,} backends"
        await self._see_from(before, wanted)
        await daemon.network.find_more(dict.fromkeys(b.address for _, b in backends))
        await daemon.network.wait_resolved(FIRST_LOOK_S)
        await daemon.checks.take_up(wanted.config.services, tunnel_settings(wanted.config.balancer))
        daemon.checks.put_ways(await self._desire(), daemon.configured)
        self.doing = "waiting for the first probes of new backends"
        old = keys_of(before.config.services, daemon.kept.overrides)  # they may be needed again
        there = {(s.name, b.name) for s, b in backends}
        daemon.checks.follow([*backends, *((s, b) for s, b in old if (s.name, b.name) not in there)])
        await daemon.checks.watch.wait_first(FIRST_LOOK_S)
        return await self._desire()

    async def _see_from(self, before: Wanted, wanted: Wanted) -> None:
        was, will = sources(before.config.balancer), sources(wanted.config.balancer)
        if (list(before.interfaces), was) != (list(wanted.interfaces), will):
            await self._daemon.network.look_from(wanted.interfaces, will)

    async def _desire(self) -> tuple[DesiredService, ...]:
        """Return what is desired with what is known now; in a thread, since it is made of nothing known before."""
        daemon = self._daemon
        shares = daemon.schedule.ramps.shares(boot_time())
        hops, overrides, health = daemon.network.hops, daemon.kept.overrides, dict(daemon.health)
        return await asyncio.to_thread(desire, daemon.config, overrides, health, hops, None, time.time(), shares)

    async def _enact(self, before: Wanted, wanted: Wanted, after: tuple[DesiredService, ...]) -> None:
        """Change program and tables, and what the program is attached to. Raises KernelError."""
        daemon, forwarding = self._daemon, self._daemon.forwarding
        self.doing = "writing the tables"
        if before.lists == wanted.lists:
            forwarding.lists = wanted.lists  # where run-time changes go from now on
            await forwarding.become(forwarding.kernel.spec.union(daemon.spec()), after)
        else:
            await forwarding.guard(wanted.lists, daemon.spec(), after)
        forwarding.put_devices()
        await daemon.reconcile_now()
        for name, index in forwarding.present().items():
            if name not in before.interfaces:
                forwarding.attach_again(name, index)
        forwarding.follow()
        daemon.upkeep.take_up()

    def _follow(self, after: tuple[DesiredService, ...]) -> None:
        """Let go of what only the old configuration wanted."""
        daemon = self._daemon
        daemon.follow()
        daemon.evidence.take_up(daemon.config, daemon.services)
        for name in sorted({s.name for s in after if not any(b.serves for b in s.backends)}):
            log_event(log, logging.WARNING, "service_down", f"service {name}: no backend gets new flows", service=name)

    async def _put_back(
        self, before: Wanted, wanted: Wanted, health: Mapping[Key, Health], memories: Mapping[str, Memory]
    ) -> None:
        """Have everything as it was, also what checks knew.

        What cannot be is found and mended by the next reconciles, as always.
        """
        daemon = self._daemon
        daemon.put(before)
        try:
            daemon.forwarding.lists = before.lists
            await self._see_from(wanted, before)
            await daemon.checks.take_up(before.config.services, tunnel_settings(before.config.balancer))
            daemon.checks.follow(keys_of(before.config.services, daemon.kept.overrides), health, memories)
            if before.lists != wanted.lists:
                await daemon.forwarding.guard(before.lists, daemon.spec(), daemon.services)
            await daemon.reconcile_now()
            daemon.forwarding.follow()
            daemon.forwarding.forget_prepared()
            daemon.upkeep.take_up()
        except (XdplbError, OSError) as error:
            text = f"not all could be put back yet: {error}"
            log_event(log, logging.ERROR, "config_not_back", text, error=str(error))


def _refuse_down(down: Mapping[str, str], allowed: Collection[str] | None) -> None:
    """Refuse a change that leaves a service with nobody. Raises ConfigError."""
    for name, why in down.items():
        if allowed is not None and name not in allowed:
            fix = f"mend that, or give --allow-down {name}"
            raise ConfigError(f"service.{name}", f"no backend would get new flows: {why}", fix)


def _moved(old: Tables, new: Tables, services: tuple[DesiredService, ...]) -> dict[str, int]:
    """Return how many slots of each service have another backend now."""
    before, after = owners(old), owners(new)
    return {s.name: len(moved_slots(before.get(s.identity, []), after[s.identity])) for s in services}
