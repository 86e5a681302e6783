"""What is probed: which checks at which places, for which backends. Pure.

A subject is one check at one place. Services that ask the same of the same backend share it, so it is probed once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from xdplb.desired import Key
from xdplb.health.kinds import Kind, Through
from xdplb.model import Address, Backend, Check, Forward, Service, Vip


@dataclass(frozen=True, slots=True)
class Way:
    """The tunnel that a service's packets take: probes of services with the same one are alike."""

    forward: Forward
    gue_port: int  # 0: not GUE


@dataclass(frozen=True, slots=True)
class Subject:
    """One check of one backend, by its own address, or through the tunnel (`way`) to a VIP.

    `named`: what a program is told (service, backend); others do not depend on it.
    """

    check: Check
    address: Address
    vip: Vip | None = None
    way: Way | None = None
    named: Key | None = None

    def fingerprint(self) -> str:
        """Return a name that is the same after a restart as long as nothing of it changes."""
        return hashlib.blake2b(repr(self).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What decides about one backend of a service: a group of subjects for each check, all of a group must pass.

    `needed`: so many of the groups.
    """

    address: Address
    groups: tuple[tuple[Subject, ...], ...]
    needed: int


Wants: TypeAlias = Mapping[Key, Wanted]


def wants(backends: Iterable[tuple[Service, Backend]]) -> dict[Key, Wanted]:
    """Return what decides about each backend that has any check."""
    return {
        (service.name, backend.name): Wanted(
            backend.address,
            tuple(_subjects(check, service, backend) for check in service.checks),
            service.checks_needed or len(service.checks),
        )
        for service, backend in backends
        if service.checks
    }


def way_of(service: Service) -> Way:
    """Return the tunnel that a service's packets take."""
    return Way(service.forward, service.gue_port if service.forward is Forward.GUE else 0)


def _subjects(check: Check, service: Service, backend: Backend) -> tuple[Subject, ...]:
    if check.through is Through.DIRECT:
        named = (service.name, backend.name) if check.kind is Kind.EXEC else None
        return (Subject(check, backend.address, named=named),)
    way = way_of(service)
    return tuple(Subject(check, backend.address, place, way) for place in places(check, service))


def places(check: Check, service: Service) -> tuple[Vip, ...]:
    """Return where a check through the tunnel asks; in a network that is a VIP, the first address that hosts have."""
    vips = [check.vip] if check.vip else service.vips
    found = dict.fromkeys((vip.address + bool(vip.prefix), check.port or vip.port) for vip in vips)
    return tuple(Vip(address, port) for address, port in found)
