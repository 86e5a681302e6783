"""What should be true now: the configuration, what operators changed since, what checks and the network say.

Pure: the same inputs give the same desired state, in any order of events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xdplb import hashing
from xdplb.contract import CONSTANTS
from xdplb.errors import ConfigError
from xdplb.model import Action, Address, Affinity, Backend, Balancer, Config, Forward, Limits, Rate, Service, State, Vip
from xdplb.ring import ring_size
from xdplb.tables import NO_MTU, BackendRow, LimitRow, Way

ETHERTYPE = {4: bytes.fromhex("0800"), 6: bytes.fromhex("86dd")}
UNITS_PER_S = 1e9 / (1 << CONSTANTS["TIME_SHIFT"])  # of the program's clock for rates
LEAST_MTU = {4: 576, 6: 1280}  # what every link must carry (RFC 791, RFC 8200, 5)


@dataclass(frozen=True, slots=True)
class Hop:
    """The first step towards a backend: interface, both MAC addresses (6 bytes), outer source, the way's MTU.

    `ifindex` 0 means: by the interface that a packet came in. `device` is its place among the balancer's interfaces,
    `vlan` the tag control of a tag of its own, `direct` that no router is in between.
    """

    ifindex: int
    own_mac: bytes
    next_mac: bytes
    source: Address
    mtu: int = 1500
    vlan: int = 0
    device: int = 0
    direct: bool = True


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
    prefixes: dict[str, str | None] = field(default_factory=dict)  # "block", "allow", or off both lists

    def copy(self) -> Overrides:
        """Return a copy that can be changed without changing this one."""
        added = {service: list(backends) for service, backends in self.added.items()}
        return Overrides(added, set(self.removed), set(self.draining), dict(self.prefixes))

    def apply(self, service: Service) -> Service:
        """Return the service as the operator wants it now."""
        if service.name not in self.added and not any(name == service.name for name, _ in self.removed):
            return service
        kept = [b for b in service.backends if (service.name, b.name) not in self.removed]
        names = {b.name for b in kept}
        kept += [b for b in self.added.get(service.name, []) if b.name not in names]
        return replace(service, backends=tuple(kept))

    def describe(self) -> list[str]:
        """Return each change as one phrase, in a stable order."""
        added = [f"backend {s}/{b.name} added" for s, backends in self.added.items() for b in backends]
        removed = [f"backend {s}/{name} removed" for s, name in self.removed]
        drained = [f"backend {s}/{name} draining" for s, name in self.draining]
        words = {"block": "blocked", "allow": "allowed", None: "off the lists"}
        return sorted(added + removed + drained + [f"{text} {words[to]}" for text, to in self.prefixes.items()])


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
    client4: tuple[int, int] = (0, 0)  # mask of a client's address where that alone decides
    client6: tuple[int, int] = (0, 0)
    limit: LimitRow | None = None
    learn_window_s: float = 120.0
    idle_timeout_s: float = 3600.0
    second_chance: bool = False

    @property
    def mtu(self) -> int:
        """The longest packet that every backend can be sent."""
        return min((b.row.mtu for b in self.backends if b.row), default=NO_MTU)


Memo = dict[str, tuple[list[Any], DesiredService]]  # by service: what it was made of, and what came out


def desire(
    config: Config,
    overrides: Overrides,
    health: Mapping[Key, Health],
    hops: Mapping[Address, Hop | str],
    memo: Memo | None = None,
) -> tuple[DesiredService, ...]:
    """Return the desired state. A hop that is a string says why there is none.

    With a memo, a service for which nothing changed is the same object as last time.
    """
    found = []
    for service in (overrides.apply(s) for s in config.services):
        made_of: list[Any] = [config.balancer, service]
        for backend in service.backends:
            key = (service.name, backend.name)
            made_of += (health.get(key), hops.get(backend.address), key in overrides.draining)
        known = memo.get(service.name) if memo else None
        if known is None or known[0] != made_of:
            known = made_of, _service(config.balancer, service, overrides, health, hops, _unchanged(known, made_of))
        if memo is not None:
            memo[service.name] = known
        found.append(known[1])
    return tuple(found)


def _unchanged(known: tuple[list[Any], DesiredService] | None, made_of: list[Any]) -> dict[int, DesiredBackend]:
    """Return the backends of which nothing changed, by the `id` of their values, which are the same objects still."""
    if known is None or known[0][0] is not made_of[0]:
        return {}
    before, now = known[0][1], made_of[1]
    if before is not now and replace(before, backends=now.backends) != now:
        return {}
    facts = {
        id(backend): made_of[n : n + 3] for n, backend in zip(range(2, len(made_of), 3), now.backends, strict=True)
    }
    kept = zip(range(2, len(known[0]), 3), before.backends, known[1].backends, strict=False)
    return {id(backend): desired for n, backend, desired in kept if facts.get(id(backend)) == known[0][n : n + 3]}


def _service(
    balancer: Balancer,
    service: Service,
    overrides: Overrides,
    health: Mapping[Key, Health],
    hops: Mapping[Address, Hop | str],
    kept: Mapping[int, DesiredBackend],
) -> DesiredService:
    number = hashing.identity("service", service.name)
    if service.forward is Forward.LOCAL:
        backends: tuple[DesiredBackend, ...] = (_this_host(service),)
    else:
        backends = tuple(
            kept.get(id(b))
            or _backend(balancer, service, b, (service.name, b.name) in overrides.draining, health, hops)
            for b in service.backends
        )
    client = service.affinity is Affinity.CLIENT
    return DesiredService(
        service.name,
        number,
        service.vips,
        service.ring_size or ring_size(len(backends)),
        backends,
        hashing.mask_words(4, service.affinity_prefix4) if client else (0, 0),
        hashing.mask_words(6, service.affinity_prefix6) if client else (0, 0),
        _limit(service.limits, number) if service.limits else None,
        service.learn_window_s,
        service.idle_timeout_s,
        service.second_chance,
    )


def _this_host(service: Service) -> DesiredBackend:
    """Return the one backend of a local service: this host's own stack."""
    address = service.vips[0].address
    number = hashing.identity("backend", service.name, "local", "")
    row = BackendRow(bytes(14), address, address, 0, number, way=Way.LOCAL)
    return DesiredBackend(Backend("local", address), number, State.UP, "this host", row)


def _limit(limits: Limits, number: int) -> LimitRow:
    def account(rate: Rate | None) -> tuple[int, int]:
        return (max(1, round(UNITS_PER_S / rate.per_s)), rate.burst) if rate else (0, 0)

    return LimitRow(
        number,
        account(limits.packets),
        account(limits.connections),
        account(limits.service_connections),
        hashing.mask_words(4, limits.prefix4)[1] >> 32,
        hashing.mask_words(6, limits.prefix6),
        limits.action is Action.COUNT,
    )


def _way(service: Service, version: int) -> Way:
    return Way.L2 if service.forward is Forward.L2 else Way(f"{service.forward}{version}")


def _backend(
    balancer: Balancer,
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
    problem = hop if isinstance(hop, str) else _why_not(balancer, service, hop, backend)
    if isinstance(hop, str) or problem:
        return DesiredBackend(backend, number, State.UNREACHABLE, problem or "", None)
    way = _way(service, backend.address.version)
    row = BackendRow(
        hop.next_mac + hop.own_mac + ETHERTYPE[backend.address.version],
        hop.source,
        backend.address,
        hop.ifindex,
        number,
        up=seen.up is True,
        way=way,
        mtu=_mtu(balancer, hop) - way.overhead,
        gue_port=service.gue_port if service.forward is Forward.GUE else 0,
        vlan=hop.vlan,
        device=hop.device,
    )
    state = _state(backend, draining, seen)
    reason = f"drained by an operator; {seen.cause}" if state is State.DRAINING else seen.cause
    return DesiredBackend(backend, number, state, reason, row)


def _mtu(balancer: Balancer, hop: Hop) -> int:
    return min(balancer.mtu or hop.mtu, hop.mtu)


def _why_not(balancer: Balancer, service: Service, hop: Hop, backend: Backend) -> str:
    """Return why a backend cannot be used although there is a way to it, or nothing."""
    if service.forward is Forward.L2 and not hop.direct:
        return 'behind a router: forward = "l2" needs it on the same link'
    overhead = _way(service, backend.address.version).overhead
    least = max(LEAST_MTU[vip.address.version] for vip in service.vips)
    if _mtu(balancer, hop) - overhead < least:
        return f"MTU {_mtu(balancer, hop)} on the way is too small: {overhead} bytes of headers leave less than {least}"
    return ""


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
    if service.forward is Forward.LOCAL:
        raise ConfigError("service", f"{service_name!r} is served by this host itself", "choose another service")
    for other in service.backends:
        if other.name == backend.name:
            raise ConfigError("name", f"service {service_name!r} has a backend {other.name!r}", "choose another")
        if other.address == backend.address:
            raise ConfigError("address", f"{other.address} is backend {other.name!r} already", "choose another")
    if any(backend.address in vip.network for other in config.services for vip in other.vips):
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
        "prefixes": overrides.prefixes,
    }
