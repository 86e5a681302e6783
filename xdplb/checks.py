"""The checks of one balancer: what is probed, by which ways, and what is known before and remembered after.

`health/` knows how to ask and what results mean; here its subjects meet the network's ways and the tunnel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xdplb import hashing
from xdplb.desired import DesiredBackend, DesiredService, Health, Key, find_changed
from xdplb.errors import KernelError
from xdplb.health.check import Memory, ProbeEnded
from xdplb.health.kinds import Through
from xdplb.health.probe import Steps, Target, probe
from xdplb.health.subjects import Subject, Way, places, wants, way_of
from xdplb.health.watch import Watch, straight
from xdplb.logs import log_event
from xdplb.model import Address, Backend, Service
from xdplb.tables import BackendRow
from xdplb.tunnel import Settings, Tunnel, detach

log = logging.getLogger("xdplb")

CLIENTS_BYTES = 1500  # as long as packets of clients are: Ethernet's
MOST_AT_ONCE = 32  # probes that one question of an operator sends at a time


class Checks:
    """Every check that is configured, and the tunnel that some of them go through."""

    def __init__(self, changed: Callable[[], None], tunnel: Tunnel) -> None:
        """`changed` is called, in the event loop, after `health` has changed."""
        self.tunnel = tunnel
        self.watch = Watch(changed, self._aim)
        self._ways: dict[int, BackendRow] = {}  # by what tells a tunnel apart: see `_identity`
        self._users: dict[Key, int] = {}  # whose way is which
        self._services: Sequence[DesiredService] = ()  # as they were when these were noted
        self._tunnelled = False
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._vips: set[Address] = set()  # that probes go to
        self._full = ""  # why not all ways could be written
        self._anew = False  # the ways have to be written, whatever they are
        self._closed = ""  # why there is no tunnel although checks would use it

    @property
    def health(self) -> dict[Key, Health]:
        """What the checks found of each backend."""
        return self.watch.health

    def follow(
        self,
        backends: Iterable[tuple[Service, Backend]],
        known: Mapping[Key, Health] | None = None,
        memories: Mapping[str, Memory] | None = None,
    ) -> None:
        """Check exactly these backends; see `Watch.follow`."""
        self.watch.follow(wants(backends), known, memories)

    async def open(self, services: Sequence[Service]) -> None:
        """Have the tunnel there if any check goes through it. Raises KernelError, if one must."""
        through = {check.through for service in services for check in service.checks} - {Through.DIRECT}
        self._vips = {
            place.address
            for service in services
            for check in service.checks
            if check.through is not Through.DIRECT
            for place in places(check, service)
        }
        if not through:
            self.tunnel.close()
            self._tunnelled = False
            await detach(self.tunnel.place)  # what an earlier configuration wanted
            return
        try:
            await (self.tunnel.follow(self._vips) if self._tunnelled else self.tunnel.open(self._vips))
            self._tunnelled = True
        except KernelError as error:
            self.tunnel.close()
            self._tunnelled = False
            if Through.TUNNEL in through:
                raise
            self._closed = f"checks go directly to the backends, since there is no tunnel for them: {error}"

    async def take_up(self, services: Sequence[Service], settings: Settings) -> None:
        """Have the tunnel as another configuration wants it; all ways are to be put anew. Raises KernelError."""
        if settings != self.tunnel.settings:
            self.tunnel.close()
            self.tunnel.settings, self._tunnelled = settings, False
        self._closed = ""
        await self.open(services)
        self._ways, self._users, self._services, self._anew = {}, {}, (), True
        self.watch.aim_anew()

    async def look(self) -> None:
        """See whether probes leave by other ways now, after routes or addresses have changed."""
        if not self._tunnelled:
            return
        try:
            await self.tunnel.follow(self._vips)
        except (KernelError, OSError) as error:
            log_event(log, logging.ERROR, "checks_failed", f"checks: {error}", error=error)
        self.watch.aim_anew()

    async def intact(self) -> bool:
        """Whether nobody has taken the tunnel's program off an interface."""
        return not self._tunnelled or await self.tunnel.intact()

    @property
    def warnings(self) -> list[str]:
        """What is in the way of checks."""
        return [self._closed] if self._closed else [*self.tunnel.warnings, *([self._full] if self._full else [])]

    def put_ways(self, services: Sequence[DesiredService], configured: Mapping[str, Service]) -> None:
        """Lead the tunnel to where the balancer would send packets of clients now."""
        if not self._tunnelled:
            return
        before, self._services = self._services, services
        changed = False
        for service, was, has in find_changed(before, services):
            if has is None and was is not None:
                changed |= self._forget_way((service.name, was.backend.name))
            elif has is not None and any(c.through is not Through.DIRECT for c in configured[service.name].checks):
                changed |= self._put_way((service.name, has.backend.name), has, way_of(configured[service.name]))
        if changed or self._anew:
            self._anew = False
            self._write_ways()

    def _put_way(self, key: Key, backend: DesiredBackend, way: Way) -> bool:
        """Note a backend's way; tell whether it is another one. One that cannot be reached now keeps its old one."""
        if backend.row is None:
            return False
        identity = _identity(backend.backend.address, way)
        moved = self._users.get(key) not in (None, identity) and self._forget_way(key)
        self._users[key] = identity
        row = replace(backend.row, identity=identity, up=True)
        if self._ways.get(identity) == row:
            return bool(moved)
        self._ways[identity] = row
        return True

    def _forget_way(self, key: Key) -> bool:
        identity = self._users.pop(key, None)
        if identity is None or identity in self._users.values():
            return False
        del self._ways[identity]
        return True

    def _write_ways(self) -> None:
        try:
            self.tunnel.put(self._ways)
            self._full = ""
        except KernelError as error:
            if not self._full:
                log_event(log, logging.ERROR, "checks_failed", f"checks: {error}", error=error)
            self._full = str(error)
        self.watch.aim_anew()

    def _aim(self, subject: Subject) -> Target | str:
        if subject.vip is None or subject.way is None:
            return straight(subject)
        if subject.vip.address in self.tunnel.trapped or self._closed:
            if subject.check.through is Through.AUTO:
                return Target(subject.address, subject.vip.port)
            return f"probes to {subject.vip.address} cannot go through the tunnel, see the warnings"
        identity = _identity(subject.address, subject.way)
        row = self._ways.get(identity)
        mark = self.tunnel.mark(identity) if row else None
        if row is None or mark is None:
            return f"no way through the tunnel to {subject.address} is known"
        return Target(subject.vip.address, subject.vip.port, mark, min(CLIENTS_BYTES, row.mtu))

    async def run(self, keys: Sequence[Key]) -> list[dict[str, Any]]:
        """Run each check of these backends once, and return what happened, with its steps."""
        asked = [(key, subject) for key in keys for subject in self.watch.subjects_of(key)]
        return list(await asyncio.gather(*(self._run(key, subject) for key, subject in asked)))

    async def _run(self, key: Key, subject: Subject) -> dict[str, Any]:
        async with self._turns:
            target, steps = self._aim(subject), Steps()  # not before its turn: the mark may be another's by then
            try:
                if isinstance(target, str):
                    raise OSError(0, target)
                ended = await probe(subject.check, target, steps)
            except OSError as error:
                ended = ProbeEnded(False, f"it could not be asked from here: {error.strerror}")
        return {
            "service": key[0],
            "backend": key[1],
            "kind": str(subject.check.kind),
            "through": "tunnel" if isinstance(target, Target) and target.mark else "direct",
            "to": str(target) if isinstance(target, Target) else str(subject.address),
            "passed": ended.passed,
            "cause": ended.cause,
            "warning": ended.warning,
            "took_ms": round(steps.took_ms, 3),
            "steps": [
                {"at_ms": round(step.at_s * 1e3, 3), "what": step.what, "sent": step.sent, "received": step.received}
                for step in steps.steps
            ],
        }

    def counters(self) -> dict[str, int] | None:
        """Return what became of probes' packets in the tunnel, if there is one."""
        return self.tunnel.counters() if self._tunnelled else None

    async def close(self, and_tunnel: bool = False) -> None:
        """Stop all checks; the tunnel stays for the next daemon, unless it has to go, too."""
        await self.watch.close()
        self.tunnel.close()
        if and_tunnel:
            await detach(self.tunnel.place)


def _identity(address: Address, way: Way) -> int:
    """Return what tells the tunnels apart: services that send alike to one backend share theirs."""
    return hashing.identity("tunnel", str(address), str(way.forward), str(way.gue_port))
