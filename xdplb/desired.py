"""What should be true now: the configuration, what operators changed since, what checks and the network say.

Pure: the same inputs give the same desired state, in any order of events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xdplb import hashing
from xdplb.errors import ConfigError
from xdplb.model import Address, Backend, Config, Service, State, Vip
from xdplb.ring import ring_size
from xdplb.tables import BackendRow

ETHERTYPE = {4: bytes.fromhex("0800"), 6: bytes.fromhex("86dd")}


@dataclass(frozen=True, slots=True)
class Hop:
    """The first step towards a backend: interface, both MAC addresses (6 bytes), outer source."""

    ifindex: int
    own_mac: bytes
    next_mac: bytes
    source: Address


@dataclass(frozen=True, slots=True)
class Health:
    """What a check found. `up` None: nothing yet. `cause` is one phrase for people."""

    up: bool | None
    cause: str


Key = tuple[str, str]  # service name, backend name


@dataclass(slots=True)
class Overrides:
    """What operators changed at run time; it outlives the daemon and is told apart from the file."""

    added: dict[str, list[Backend]] = field(default_factory=dict)
    removed: set[Key] = field(default_factory=set)
    draining: set[Key] = field(default_factory=set)

    def copy(self) -> Overrides:
        """Return a copy that can be changed without changing this one."""
        return Overrides({s: list(b) for s, b in self.added.items()}, set(self.removed), set(self.draining))

    def apply(self, service: Service) -> Service:
        """Return the service as the operator wants it now."""
        kept = [b for b in service.backends if (service.name, b.name) not in self.removed]
        names = {b.name for b in kept}
        kept += [b for b in self.added.get(service.name, []) if b.name not in names]
        return replace(service, backends=tuple(kept))

    def describe(self) -> list[str]:
        """Return each change as one phrase, in a stable order."""
        added = [f"backend {s}/{b.name} added" for s, backends in self.added.items() for b in backends]
        removed = [f"backend {s}/{name} removed" for s, name in self.removed]
        return sorted(added + removed + [f"backend {s}/{name} draining" for s, name in self.draining])


@dataclass(frozen=True, slots=True)
class DesiredBackend:
    """One backend as it should be. `row` None: it cannot be reached, so nothing can be written."""

    backend: Backend
    identity: int
    state: State
    reason: str
    row: BackendRow | None


@dataclass(frozen=True, slots=True)
class DesiredService:
    """One service as it should be."""

    name: str
    identity: int
    vips: tuple[Vip, ...]
    ring_size: int
    backends: tuple[DesiredBackend, ...]


def desire(
    config: Config, overrides: Overrides, health: Mapping[Key, Health], hops: Mapping[Address, Hop | str]
) -> tuple[DesiredService, ...]:
    """Return the desired state. A hop that is a string says why there is none."""
    return tuple(_service(overrides.apply(s), overrides, health, hops) for s in config.services)


def _service(
    service: Service, overrides: Overrides, health: Mapping[Key, Health], hops: Mapping[Address, Hop | str]
) -> DesiredService:
    backends = tuple(
        _backend(service, b, (service.name, b.name) in overrides.draining, health, hops) for b in service.backends
    )
    size = service.ring_size or ring_size(len(backends))
    return DesiredService(service.name, hashing.identity("service", service.name), service.vips, size, backends)


def _backend(
    service: Service,
    backend: Backend,
    draining: bool,
    health: Mapping[Key, Health],
    hops: Mapping[Address, Hop | str],
) -> DesiredBackend:
    number = hashing.identity("backend", service.name, backend.name, str(backend.address))
    hop = hops.get(backend.address, "its route is not known yet")
    seen = health.get((service.name, backend.name), Health(None, "not probed yet"))
    if service.check is None:
        seen = Health(True, "no check configured")
    if isinstance(hop, str):
        return DesiredBackend(backend, number, State.UNREACHABLE, hop, None)
    ethernet = hop.next_mac + hop.own_mac + ETHERTYPE[backend.address.version]
    row = BackendRow(ethernet, hop.source, backend.address, hop.ifindex, number, up=seen.up is True)
    state = _state(backend, draining, seen)
    reason = f"drained by an operator; {seen.cause}" if state is State.DRAINING else seen.cause
    return DesiredBackend(backend, number, state, reason, row)


def _state(backend: Backend, draining: bool, seen: Health) -> State:
    if seen.up is None:
        return State.CHECKING
    if not seen.up:
        return State.DOWN
    if draining:
        return State.DRAINING
    return State.UP if backend.weight else State.IDLE


# --- what operators may change at run time ------------------------------------------------------------------


def add_backend(config: Config, overrides: Overrides, service_name: str, backend: Backend) -> Service:
    """Add a backend to a service; return the service as it is then. Raises ConfigError."""
    service = overrides.apply(find_service(config, service_name))
    for other in service.backends:
        if other.name == backend.name:
            raise ConfigError("name", f"service {service_name!r} has a backend {other.name!r}", "choose another")
        if other.address == backend.address:
            raise ConfigError("address", f"{other.address} is backend {other.name!r} already", "choose another")
    if backend.address in {vip.address for other in config.services for vip in other.vips}:
        raise ConfigError("address", f"{backend.address} is a VIP", "give the backend's own address")
    overrides.removed.discard((service_name, backend.name))
    in_file = find_service(config, service_name).backends
    if backend not in in_file:
        if any(b.name == backend.name for b in in_file):  # the file's one stays removed; this one replaces it
            overrides.removed.add((service_name, backend.name))
        overrides.added.setdefault(service_name, []).append(backend)
    return overrides.apply(find_service(config, service_name))


def remove_backend(config: Config, overrides: Overrides, name: str, service: str | None) -> list[Key]:
    """Remove a backend from every service that has it, or from one; return from which. Raises ConfigError."""
    found = find_backend(config, overrides, name, service)
    for key in found:
        kept = [b for b in overrides.added.pop(key[0], []) if b.name != name]
        if kept:
            overrides.added[key[0]] = kept
        if any(b.name == name for b in find_service(config, key[0]).backends):
            overrides.removed.add(key)
        overrides.draining.discard(key)
    return found


def drain_backend(config: Config, overrides: Overrides, name: str, service: str | None, drain: bool) -> list[Key]:
    """Drain or undrain a backend in every service that has it, or in one. Raises ConfigError."""
    found = find_backend(config, overrides, name, service)
    if drain:
        overrides.draining.update(found)
    else:
        overrides.draining.difference_update(found)
    return found


def find_service(config: Config, name: str) -> Service:
    """Return the configured service of this name, or raise ConfigError that lists the names."""
    for service in config.services:
        if service.name == name:
            return service
    names = ", ".join(s.name for s in config.services) or "none"
    raise ConfigError("service", f"there is no service {name!r}", f"the services are: {names}")


def find_backend(config: Config, overrides: Overrides, name: str, service: str | None) -> list[Key]:
    """Return (service, name) wherever a backend of this name is, or raise ConfigError."""
    among = [find_service(config, service)] if service else config.services
    found = [(s.name, name) for s in among if any(b.name == name for b in overrides.apply(s).backends)]
    if not found:
        where = f"service {service!r}" if service else "any service"
        raise ConfigError("backend", f"there is no backend {name!r} in {where}", "see `xdplb status`")
    return found


def keys_of(services: tuple[Service, ...], overrides: Overrides) -> Iterator[tuple[Service, Backend]]:
    """Yield every (service, backend) that operators want now."""
    for service in services:
        applied = overrides.apply(service)
        for backend in applied.backends:
            yield applied, backend


def overrides_to_json(overrides: Overrides) -> dict[str, Any]:
    """Return the changes as JSON values."""
    return {
        "added": {
            service: [{"name": b.name, "address": str(b.address), "weight": b.weight} for b in backends]
            for service, backends in overrides.added.items()
        },
        "removed": sorted(overrides.removed),
        "draining": sorted(overrides.draining),
    }
