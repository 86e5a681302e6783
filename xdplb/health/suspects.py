"""Whom evidence is about, and how often it may be followed: once a second for each backend of a service. Pure.

Only services with `passive` are here. Evidence may be forged or wrong; whatever comes of it is one probe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from typing import TypeAlias

from xdplb.desired import DesiredService, Key
from xdplb.model import Address, Balancer, Config, Forward, Network, Vip

EVERY_S = 1.0  # between two suspicions of one backend

_Served: TypeAlias = tuple[Network, int, int, int]  # a VIP: addresses, protocol (0: any), first and last port


class Suspects:
    """The backends of passive services by address, and when each was suspected last."""

    def __init__(self, config: Config) -> None:
        """Nobody is known until `follow`."""
        self._passive = {service.name: service for service in config.services if service.passive}
        self._given = given_sources(config.balancer)
        self.gue_ports = {s.gue_port for s in self._passive.values() if s.forward is Forward.GUE}
        self._services: dict[str, DesiredService] = {}
        self._sources: dict[str, set[Network]] = {}
        self._found: dict[Address, list[tuple[Key, list[_Served]]]] | None = None  # None: made when it is needed
        self._last: dict[Key, float] = {}

    def __bool__(self) -> bool:
        """Whether there is a service that evidence may be about."""
        return bool(self._passive)

    def knows(self, service: str) -> bool:
        """Whether a service is passive."""
        return service in self._passive

    def follow(self, services: Iterable[DesiredService]) -> None:
        """Know these services now; those that did not change are the same objects as last time."""
        now = {service.name: service for service in services if service.name in self._passive}
        for name, service in now.items():
            if self._services.get(name) is not service:
                self._found = None
                self._sources[name] = _sources_of(service)
        self._services = now

    @property
    def sources(self) -> frozenset[Network]:
        """Where our outer headers come from."""
        return self._given | {network for networks in self._sources.values() for network in networks}

    def of(self, address: Address) -> list[Key]:
        """Return the backends that have this address, in each service."""
        return [key for key, _ in self._backends().get(address, ())]

    def serving(self, address: Address, vip: Address | None, port: int, protocol: int) -> list[Key]:
        """Return those of them that serve a VIP; None: any of its address."""
        found = self._backends().get(address, ())
        return [key for key, served in found if any(_covers(one, vip, port, protocol) for one in served)]

    def any_due(self, address: Address, now: float) -> bool:
        """Whether a backend of this address may be suspected now: if not, what comes from there need not be read."""
        return any(now - self._last.get(key, -EVERY_S) >= EVERY_S for key, _ in self._backends().get(address, ()))

    def due(self, keys: Sequence[Key], now: float) -> list[Key]:
        """Return those that may be suspected now, and take them for suspected."""
        due = [key for key in keys if now - self._last.get(key, -EVERY_S) >= EVERY_S]
        self._last.update(dict.fromkeys(due, now))
        return due

    def _backends(self) -> dict[Address, list[tuple[Key, list[_Served]]]]:
        if self._found is None:
            self._found = {}
            for service in self._services.values():
                served = [_served(vip) for vip in service.vips]
                for desired in service.backends:
                    key = (service.name, desired.backend.name)
                    self._found.setdefault(desired.backend.address, []).append((key, served))
            keys = {key for found in self._found.values() for key, _ in found}
            self._last = {key: at for key, at in self._last.items() if key in keys}
        return self._found


def given_sources(balancer: Balancer) -> frozenset[Network]:
    """Return the outer sources that the configuration names."""
    return frozenset(source for source in (balancer.source4, balancer.source6) if source)


def _sources_of(service: DesiredService) -> set[Network]:
    """Return the outer sources that routes to the backends chose."""
    return {ip_network(source) for source in {desired.row.source for desired in service.backends if desired.row}}


def _served(vip: Vip) -> _Served:
    return vip.network, vip.protocol.number, vip.port, vip.last_port or vip.port


def _covers(served: _Served, address: Address | None, port: int, protocol: int) -> bool:
    network, number, first, last = served
    if number and not (number == protocol and first <= port <= last):
        return False
    return address is None or address in network
