"""Passive evidence, on the balancer: agents' reports, ICMP errors about our outer packets, accounts of proxies.

Nothing is believed that comes from the network: it has a backend probed at once, each at most once a second, and the
check decides. A proxy, which only root can be (it speaks by the admin socket), may have outliers ejected, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from xdplb.desired import DesiredService, Health, Key
from xdplb.errors import KernelError
from xdplb.health.evidence import unpack
from xdplb.health.icmp_errors import attach_filter, open_raw, read_error
from xdplb.health.outlier import Account, Effect, Eject, Outliers, Return
from xdplb.health.paced import Paced
from xdplb.health.suspects import Suspects
from xdplb.logs import log_event
from xdplb.model import Config, Network, State

log = logging.getLogger("xdplb")

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class Evidence:
    """What comes in, as long as some service wants it."""

    def __init__(self, config: Config, suspected: Callable[[Key, str], bool], changed: Callable[[], None]) -> None:
        """`suspected` is called with a backend to probe now and why, and tells whether it is; `changed` when others
        are ejected than before.
        """
        self._suspects, self._suspected, self._changed = Suspects(config), suspected, changed
        self._outliers = Outliers()
        self.ejected: dict[Key, str] = {}  # and why
        self._services: tuple[DesiredService, ...] = ()
        self._found: Mapping[Key, Health] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._port = config.balancer.evidence_port
        self._open: list[Paced] = []
        self._raw: dict[socket.AddressFamily, Paced] = {}
        self._filtered: frozenset[Network] | None = None
        self.warnings: list[str] = []

    def start(self) -> None:
        """Listen, if a service has `passive`. What cannot be had is a warning: checks work without."""
        if not self._suspects:
            return
        for family in _FAMILIES:
            if self._port:
                self._try(self._listen, family)
            self._try(self._listen_raw, family)

    def follow(self, services: Iterable[DesiredService]) -> None:
        """Know these services now."""
        self._services = tuple(services)
        self._suspects.follow(self._services)
        if self.ejected:
            self._follow_outliers()
        if self._raw and self._suspects.sources != self._filtered:
            self._filtered = self._suspects.sources
            for family, paced in self._raw.items():
                attach_filter(paced.socket, family, self._filtered, self._suspects.gue_ports)

    def take_up(self, config: Config, services: Iterable[DesiredService]) -> None:
        """Go by another configuration, whose services these are; sockets that are still right stay open."""
        suspects, port = Suspects(config), config.balancer.evidence_port
        others = bool(suspects) != bool(self._suspects) or port != self._port
        self._suspects, self._port, self._filtered = suspects, port, None
        if others:
            self._stop()
            self.warnings.clear()
            self.start()
        self.follow(services)
        self._follow_outliers()

    def close(self) -> None:
        """Listen no more."""
        if self._alarm:
            self._alarm.cancel()
        self._stop()

    def _stop(self) -> None:
        for paced in [*self._open, *self._raw.values()]:
            paced.close()
        self._open, self._raw = [], {}

    # --- what proxies report --------------------------------------------------------------------------------

    def take(self, accounts: Iterable[Account]) -> None:
        """Take what a proxy saw of its backends."""
        self._follow_outliers()
        self._carry_out(self._outliers.take(accounts, time.monotonic()))

    def judge(self, found: Mapping[Key, Health]) -> Mapping[Key, Health]:
        """Return what checks found, but those that are ejected without new flows: their old ones may do well."""
        self._found = found
        if not self.ejected:
            return found
        there = [(key, why, found[key]) for key, why in self.ejected.items() if key in found]
        return {**found, **{key: replace(health, drain=True, held=why) for key, why, health in there if health.up}}

    def _follow_outliers(self) -> None:
        passive = [service for service in self._services if self._suspects.knows(service.name)]
        backends = {service.name: [b.backend.name for b in service.backends] for service in passive}
        up = {(s.name, b.backend.name) for s in passive for b in s.backends if b.state is State.UP}
        up |= {key for key in self.ejected if key in self._found and self._found[key].up}
        self._carry_out(self._outliers.follow(backends, up))

    def _carry_out(self, effects: list[Effect]) -> None:
        before = dict(self.ejected)
        for effect in effects:
            if isinstance(effect, Eject):
                self.ejected[effect.key] = effect.cause
            elif isinstance(effect, Return):
                self.ejected.pop(effect.key, None)
            else:
                self._suspect([effect.key], effect.cause)
        if self.ejected != before:
            self._changed()
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        if (at := self._outliers.next_time()) is not None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(max(0.0, at - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._follow_outliers()
        self._carry_out(self._outliers.tick(time.monotonic()))

    # --- what comes by the network --------------------------------------------------------------------------

    def _try(self, listen: Callable[[socket.AddressFamily], None], family: socket.AddressFamily) -> None:
        try:
            listen(family)
        except KernelError as error:
            log_event(log, logging.WARNING, "evidence_refused", str(error), family=family.name)
            self.warnings.append(str(error))

    def _listen(self, family: socket.AddressFamily) -> None:
        """Open the port for agents' reports. Raises KernelError."""
        with contextlib.ExitStack() as stack:
            try:
                opened = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                if family == socket.AF_INET6:
                    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                opened.bind(("", self._port))
            except OSError as error:
                if error.errno in _NO_FAMILY:
                    return
                fix = "set another balancer.evidence_port, 0 for none"
                why = os.strerror(error.errno or 0)
                raise KernelError(f"agents' reports are not heard: UDP port {self._port}: {why}; {fix}") from None
            stack.pop_all()
        self._open.append(Paced(opened, self._take_report))

    def _listen_raw(self, family: socket.AddressFamily) -> None:
        """Open the socket for ICMP errors. Raises KernelError."""
        try:
            opened = open_raw(family)
        except OSError as error:
            if error.errno in _NO_FAMILY:
                return
            why = os.strerror(error.errno or 0)
            raise KernelError(f"ICMP errors are not heard: {why}; give the daemon CAP_NET_RAW") from None
        attach_filter(opened, family, self._suspects.sources, self._suspects.gue_ports)
        self._raw[family] = Paced(opened, lambda packet, sender: self._take_error(family, packet, sender))

    def _take_report(self, datagram: bytes, sender: Any) -> None:
        """Take what claims to be an agent's word; it counts only from a backend's address."""
        address = ip_address(sender[0].partition("%")[0])
        if self._suspects.any_due(address, time.monotonic()):
            for one in unpack(datagram):
                keys = self._suspects.serving(address, one.address, one.port, one.protocol)
                self._suspect(keys, one.cause)

    def _take_error(self, family: socket.AddressFamily, packet: bytes, sender: Any) -> None:
        error = read_error(packet, 4 if family == socket.AF_INET else 6)
        if error is None or not any(error.source in network for network in self._suspects.sources):
            return
        if error.port and error.port not in self._suspects.gue_ports:
            return
        self._suspect(self._suspects.of(error.destination), error.cause(sender[0].partition("%")[0]))

    def _suspect(self, keys: list[Key], cause: str) -> None:
        for key in self._suspects.due(keys, time.monotonic()):
            if self._suspected(key, cause):
                log_suspicion(log, key, cause)


def log_suspicion(log: logging.Logger, key: Key, cause: str) -> None:
    """Log that evidence makes a backend's probe come at once."""
    service, backend = key
    text = f"{service}/{backend} is probed at once: {cause}"
    log_event(log, logging.INFO, "backend_suspected", text, service=service, backend=backend, cause=cause)
