"""What should be true now: the configuration, what operators changed since, what checks and the network say.

Pure: the same inputs give the same desired state, in any order of events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from xdplb import hashing
from xdplb.contract import CONSTANTS
from xdplb.differences import Seen, differences
from xdplb.model import (
    Action,
    Address,
    Affinity,
    Backend,
    Balancer,
    Config,
    Forward,
    Limits,
    Rate,
    Service,
    State,
    Vip,
    WhenAllDown,
)
from xdplb.ring import ring_size
from xdplb.serving import Count, Lent, Serve, Verdict, decide, with_fallback
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
    """What the checks found. `up` None: nothing yet. `cause` is one phrase for people, `warning` what to mend.

    `percent` and `drain` are an agent's on the backend: so much of its weight, no new flows. `held`: why it gets no new
    flows although its checks pass, when that is not what its agent wants.
    """

    up: bool | None
    cause: str
    warning: str = ""
    percent: int | None = None
    drain: bool = False
    held: str = ""


Key = tuple[str, str]  # service name, backend name


@dataclass(frozen=True, slots=True)
class Drain:
    """That a backend gets no new flows, in words. `over`: its old ones are let go, too."""

    note: str
    over: bool = False


@dataclass(slots=True)
class Overrides:
    """What operators changed at run time; it outlives the daemon and is told apart from the file.

    Times are seconds since 1970: at a deadline, a draining backend's last flows are let go. One that is being removed
    is draining, and goes when its flows are gone, at its time at the latest.
    """

    added: dict[str, list[Backend]] = field(default_factory=dict)
    removed: set[Key] = field(default_factory=set)
    draining: set[Key] = field(default_factory=set)
    prefixes: dict[str, str | None] = field(default_factory=dict)  # "block", "allow", or off both lists
    weights: dict[Key, int] = field(default_factory=dict)  # of the file's backends
    deadlines: dict[Key, float] = field(default_factory=dict)
    removing: dict[Key, float] = field(default_factory=dict)

    def copy(self) -> Overrides:
        """Return a copy that can be changed without changing this one."""
        return Overrides(
            {service: list(backends) for service, backends in self.added.items()},
            set(self.removed),
            set(self.draining),
            dict(self.prefixes),
            dict(self.weights),
            dict(self.deadlines),
            dict(self.removing),
        )

    def apply(self, service: Service) -> Service:
        """Return the service as the operator wants it now."""
        changed = any(name == service.name for keys in (self.removed, self.weights) for name, _ in keys)
        if service.name not in self.added and not changed:
            return service
        kept = [self._weighed(service.name, b) for b in service.backends if (service.name, b.name) not in self.removed]
        names = {b.name for b in kept}
        kept += [b for b in self.added.get(service.name, []) if b.name not in names]
        return replace(service, backends=tuple(kept))

    def _weighed(self, service: str, backend: Backend) -> Backend:
        weight = self.weights.get((service, backend.name))
        return backend if weight is None else replace(backend, weight=weight)

    def drain_of(self, key: Key, now: float) -> Drain | None:
        """Return what becomes of a backend that is draining, or nothing."""
        if key not in self.draining:
            return None
        removed_at, until = self.removing.get(key), self.deadlines.get(key)
        if removed_at is not None:
            if removed_at <= now:
                return Drain("being removed; its deadline has passed", over=True)
            return Drain(f"removed when its flows are gone, at the latest {_clock(removed_at, now)}")
        if until is None:
            return Drain("drained by an operator")
        if until <= now:
            return Drain("drained by an operator; its deadline has passed", over=True)
        return Drain(f"drained by an operator until {_clock(until, now)}")

    def describe(self) -> list[str]:
        """Return each change as one phrase, in a stable order."""
        added = [f"backend {s}/{b.name} added" for s, backends in self.added.items() for b in backends]
        removed = [f"backend {s}/{name} removed" for s, name in self.removed]
        drained = [
            f"backend {s}/{name} {'being removed' if (s, name) in self.removing else 'draining'}"
            for s, name in self.draining
        ]
        weighed = [f"backend {s}/{name} has weight {weight}" for (s, name), weight in self.weights.items()]
        words = {"block": "blocked", "allow": "allowed", None: "off the lists"}
        return sorted(
            added + removed + drained + weighed + [f"{text} {words[to]}" for text, to in self.prefixes.items()]
        )


def _clock(at: float, now: float) -> str:
    """Return a time of day, with its date if that is not today's."""
    then = datetime.fromtimestamp(at)
    return then.strftime("%H:%M:%S" if then.date() == datetime.fromtimestamp(now).date() else "%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True, slots=True)
class DesiredBackend:
    """One backend as it should be. `row` None: it cannot be reached, so nothing can be written.

    `share`: how much of its slots it has for now (slow start, and what its agent says). `serves`: it gets new flows, as
    one that is up does, and in panic one that is down. `member`: it is one of those whom the ring is made of.
    """

    backend: Backend
    identity: int
    state: State
    reason: str
    row: BackendRow | None
    share: float = 1.0
    serves: bool = False
    member: bool = True
    usable: bool = True  # if it were up, it would get new flows
    plain: DesiredBackend | None = field(default=None, compare=False, repr=False)  # what it is without panic

    @property
    def acts_as(self) -> State:
        """Its state as its share of new flows goes: in panic, one that is down is warm like any other."""
        return State.UP if self.serves else self.state

    @property
    def lent_by(self) -> str | None:
        """The service whose backend it is, if that is another one."""
        return self.backend.service if isinstance(self.backend, Lent) else None


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
    passive: bool = False
    forward: Forward = Forward.IPIP

    @property
    def mtu(self) -> int:
        """The longest packet that every backend can be sent."""
        return min((b.row.mtu for b in self.backends if b.row), default=NO_MTU)


Became = tuple[DesiredService, DesiredBackend | None, DesiredBackend | None]  # service, before and after


def find_changed(before: Sequence[DesiredService], after: Sequence[DesiredService]) -> Iterator[Became]:
    """Yield every backend that is another one now, as it was and as it is; None: it was not there, or is gone."""
    if len(before) == len(after):
        places = list(differences(before, after))
        before, after = [before[n] for n in places], [after[n] for n in places]
    old = {service.name: service for service in before}
    for service in after:
        was = old.pop(service.name, None)
        if was is not service:
            yield from ((service, *pair) for pair in _pairs(was.backends if was else (), service.backends))
    yield from ((service, backend, None) for service in old.values() for backend in service.backends)


def _pairs(
    before: Sequence[DesiredBackend], after: Sequence[DesiredBackend]
) -> Iterator[tuple[DesiredBackend | None, DesiredBackend | None]]:
    if len(before) == len(after):
        places = list(differences(before, after))
        before, after = [before[n] for n in places], [after[n] for n in places]
    was = {backend.backend.name: backend for backend in before}
    for backend in after:
        old = was.pop(backend.backend.name, None)
        if old != backend:
            yield old, backend
    yield from ((gone, None) for gone in was.values())


_Facts = tuple[Health | None, Hop | str, Drain | None, float]  # of a backend; the last one is its share
_NOTHING_KNOWN: _Facts = (None, "", None, 1.0)
NO_SHARES: Mapping[Key, float] = MappingProxyType({})


def desire(
    config: Config,
    overrides: Overrides,
    health: Mapping[Key, Health],
    hops: Mapping[Address, Hop | str],
    memo: Memo | None = None,
    now: float = 0.0,
    shares: Mapping[Key, float] = NO_SHARES,
) -> tuple[DesiredService, ...]:
    """Return the desired state. A hop that is a string says why there is none.

    With a memo, only what changed is made again; a service for which nothing did is the same object as last time. (For
    it, `hops` that change are another object; `health` may be the same.) `now` is in seconds since 1970; `shares` are
    those of backends in a slow start.
    """
    memo, inputs = memo or Memo(), Inputs(overrides, health, hops, now, shares)
    for number, facts in memo.find_news(config, inputs):
        memo.make(number, facts)
    return memo.services


def services_of(config: Config, overrides: Overrides) -> list[Service]:
    """Return the services as operators want them now, with the backends that others lend them."""
    applied = [overrides.apply(service) for service in config.services]
    return [with_fallback(service, applied) for service in applied]


def home_of(key: Key, backend: Backend) -> Key:
    """Return under which key a service's backend is checked and drained: a lent one's is its own service's."""
    return (backend.service, backend.own_name) if isinstance(backend, Lent) else key


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a desired state is made of, but for the configuration."""

    overrides: Overrides
    health: Mapping[Key, Health]
    hops: Mapping[Address, Hop | str]
    now: float
    shares: Mapping[Key, float]

    def facts(self, service: Service, backend: Backend) -> _Facts:
        """Return what is known of one backend."""
        key = (service.name, backend.name)
        home, hop = home_of(key, backend), self.hops.get(backend.address, "its route is not known yet")
        return self.health.get(home), hop, self.overrides.drain_of(home, self.now), self.shares.get(key, 1.0)


@dataclass(slots=True)
class _Made:
    """A service as it was made last: of what, and what came out."""

    service: Service
    facts: list[_Facts]
    backends: list[DesiredBackend | None]
    desired: DesiredService | None = None


class Memo:
    """The last desired state and what it was made of, so that the next one costs what is new and little more."""

    def __init__(self) -> None:
        self._config: Config | None = None
        self._overrides = Overrides()
        self._made: list[_Made] = []
        self._places: dict[Key, list[tuple[int, int]]] = {}  # numbers of service and backend; of a lent one, both
        self._at: dict[Address, list[Key]] = {}
        self._health, self._hops = Seen[Key, Health](), Seen[Address, Hop | str]()
        self._ways: Mapping[Address, Hop | str] | None = None
        self._shares: Mapping[Key, float] = NO_SHARES
        self.found: Collection[Key] = ()  # of whom checks have found something else since the last time

    @property
    def services(self) -> tuple[DesiredService, ...]:
        """The desired state."""
        return tuple(made.desired for made in self._made if made.desired)

    def find_news(self, config: Config, inputs: Inputs) -> Iterator[tuple[int, dict[int, _Facts]]]:
        """Yield each service that may have to be another one now, and what is known of which backends; by number."""
        for number, positions in self._find_places(config, inputs).items():
            service = self._made[number].service
            yield number, {n: inputs.facts(service, service.backends[n]) for n in positions}

    def _find_places(self, config: Config, inputs: Inputs) -> Mapping[int, Sequence[int]]:
        """Return the backends that may have to be others now, by service; remember the inputs."""
        overrides, before = inputs.overrides, self._overrides
        self.found, moved = self._health.take(inputs.health), set[Address]()
        if inputs.hops is not self._ways:
            self._ways, moved = inputs.hops, self._hops.take(inputs.hops)
        shares, self._shares = self._shares, dict(inputs.shares)
        if config is not self._config or _members(overrides) != _members(before):
            self._begin(config, overrides)
            return {number: range(len(made.facts)) for number, made in enumerate(self._made)}
        keys = {*self.found, *(key for address in moved for key in self._at.get(address, ()))}
        keys |= {key for key in shares.keys() | self._shares if shares.get(key) != self._shares.get(key)}
        if overrides.draining or before.draining:
            keys |= overrides.draining ^ before.draining
            keys |= {key for its in (before, overrides) for times in (its.deadlines, its.removing) for key in times}
            self._overrides = overrides.copy()
        found: dict[int, list[int]] = {}
        for number, position in sorted({place for key in keys for place in self._places.get(key, ())}):
            found.setdefault(number, []).append(position)
        return found

    def _begin(self, config: Config, overrides: Overrides) -> None:
        """Take up another configuration, or other backends and weights."""
        same = self._config is not None and self._config.balancer is config.balancer
        known = {made.service.name: made for made in self._made} if same else {}
        self._config, self._overrides = config, overrides.copy()
        self._made = [_begin(service, known.get(service.name)) for service in services_of(config, overrides)]
        self._places, self._at = {}, {}
        for number, made in enumerate(self._made):
            for position, backend in enumerate(made.service.backends):
                key = (made.service.name, backend.name)
                for name in {key, home_of(key, backend)}:
                    self._places.setdefault(name, []).append((number, position))
                self._at.setdefault(backend.address, []).append(key)

    def make(self, number: int, facts: Mapping[int, _Facts]) -> None:
        """Make a service of which this is known of some backends; nothing, when it was known already."""
        made = self._made[number]
        assert self._config
        anew = [n for n, known in facts.items() if made.backends[n] is None or made.facts[n] != known]
        for n in anew:
            made.facts[n] = facts[n]
        if anew or made.desired is None:
            made.desired = _service(self._config.balancer, made.service, made.facts, made.backends, anew)
            made.backends = [*made.desired.backends]


def _members(overrides: Overrides) -> tuple[object, ...]:
    """Return what decides which backends there are, with which weights."""
    return overrides.added, overrides.removed, overrides.weights


def _begin(service: Service, known: _Made | None) -> _Made:
    """Return a service to be made, with what is known of its backends, by the `id` of their values."""
    made = _Made(service, [_NOTHING_KNOWN] * len(service.backends), [None] * len(service.backends))
    if known is None or replace(known.service, backends=service.backends) != service:
        return made
    if known.service is service:
        return known
    if second_header(known.service) == second_header(service):
        kept = {
            id(b): pair
            for b, pair in zip(known.service.backends, zip(known.facts, known.backends, strict=False), strict=False)
        }
        pairs = [kept.get(id(b), (_NOTHING_KNOWN, None)) for b in service.backends]
        made.facts, made.backends = [facts for facts, _ in pairs], [desired for _, desired in pairs]
    return made


def _service(
    balancer: Balancer,
    service: Service,
    facts: Sequence[_Facts],
    known: Sequence[DesiredBackend | None],
    anew: Iterable[int],
) -> DesiredService:
    """Return a service whose backends are `known`, but for those of these numbers, which are to be made anew."""
    number = hashing.identity("service", service.name)
    if service.forward is Forward.LOCAL:
        backends: tuple[DesiredBackend, ...] = (_this_host(service),)
    else:
        made = list(known)
        for n in anew:
            made[n] = _backend(balancer, service, service.backends[n], facts[n])
        backends = _served(service, tuple(filter(None, made)))
    client = service.affinity is Affinity.CLIENT
    return DesiredService(
        service.name,
        number,
        service.vips,
        service.ring_size or ring_size(sum(b.lent_by is None for b in backends) if service.fallback else len(backends)),
        backends,
        hashing.mask_words(4, service.affinity_prefix4) if client else (0, 0),
        hashing.mask_words(6, service.affinity_prefix6) if client else (0, 0),
        _limit(service.limits, number) if service.limits else None,
        service.learn_window_s,
        service.idle_timeout_s,
        service.second_chance,
        service.passive,
        service.forward,
    )


def _this_host(service: Service) -> DesiredBackend:
    """Return the one backend of a local service: this host's own stack."""
    address = service.vips[0].address
    number = hashing.identity("backend", service.name, "local", "")
    row = BackendRow(bytes(14), address, address, 0, number, way=Way.LOCAL)
    return DesiredBackend(Backend("local", address), number, State.UP, "this host", row, serves=True)


def _served(service: Service, backends: tuple[DesiredBackend, ...]) -> tuple[DesiredBackend, ...]:
    """Return the backends as they are with the service's policy for when too few are up."""
    if not service.panic_percent and service.when_all_down is WhenAllDown.DROP:
        return backends
    plain = tuple(b.plain or b for b in backends)
    verdict = decide(service, _count(plain))
    if verdict.serve is Serve.UP and service.fallback is None:
        return plain
    return tuple(_lent(b, verdict) if b.lent_by else _own(b, verdict) for b in plain)


def _count(backends: Sequence[DesiredBackend]) -> Count:
    own = [b for b in backends if b.lent_by is None]
    up, down = sum(b.serves for b in own), sum(b.usable and b.state is State.DOWN for b in own)
    checking = sum(b.state is State.CHECKING for b in own)
    return Count(up, down, checking, len(own) - up - down - checking, sum(b.serves for b in backends) - up)


def _own(plain: DesiredBackend, verdict: Verdict) -> DesiredBackend:
    """Return one of the service's own backends: in panic, one that is down serves like any other."""
    if verdict.serve is Serve.LENT:
        return replace(plain, member=False, plain=plain)
    if verdict.serve is Serve.UP or not plain.usable or plain.row is None or plain.state is State.CHECKING:
        return plain
    if plain.serves:
        return replace(plain, reason=f"{plain.reason}; {verdict.why}", plain=plain)
    reason = f"{verdict.why}: gets new flows all the same; {plain.reason}"
    return replace(plain, reason=reason, row=replace(plain.row, up=True), serves=True, plain=plain)


def _lent(plain: DesiredBackend, verdict: Verdict) -> DesiredBackend:
    """Return another service's backend, which keeps the flows that it has, but gets new ones only when it must."""
    if verdict.serve is Serve.LENT:
        why = f"{verdict.why}: serves for them; " if plain.serves else ""
        return replace(plain, reason=f"{why}{plain.reason}", plain=plain)
    state = State.IDLE if plain.serves else plain.state
    reason = f"a fallback, not needed now; {plain.reason}"
    return replace(plain, state=state, reason=reason, serves=False, member=False, plain=plain)


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


def second_header(service: Service) -> int:
    """Return the bytes of the IP header that a second chance puts behind the first one, to the widest backend."""
    if not service.second_chance:
        return 0
    return 40 if any(backend.address.version == 6 for backend in service.backends) else 20


def _backend(balancer: Balancer, service: Service, backend: Backend, facts: _Facts) -> DesiredBackend:
    health, hop, drain, share = facts
    number = hashing.identity("backend", service.name, backend.name, str(backend.address))
    seen = health or Health(None, "not probed yet")
    if not (backend.checked if isinstance(backend, Lent) else service.checks):
        seen = Health(True, "no check configured")
    problem = hop if isinstance(hop, str) else _why_not(balancer, service, hop, backend)
    if isinstance(hop, str) or problem:
        reason = _reason(State.UNREACHABLE, drain, problem)
        return DesiredBackend(backend, number, State.UNREACHABLE, reason, None, share, usable=False)
    way = _way(service, backend.address.version)
    row = BackendRow(
        hop.next_mac + hop.own_mac + ETHERTYPE[backend.address.version],
        hop.source,
        backend.address,
        hop.ifindex,
        number,
        up=seen.up is True and not (drain and drain.over),
        way=way,
        mtu=_mtu(balancer, hop) - way.overhead - second_header(service),
        gue_port=service.gue_port if service.forward is Forward.GUE else 0,
        vlan=hop.vlan,
        device=hop.device,
    )
    part = min(seen.percent, 100) / 100 if seen.percent is not None else 1.0
    state = _state(backend, drain, seen)
    usable = bool(backend.weight and part) and drain is None and (not seen.drain or bool(seen.held))
    if state is not State.DOWN and seen.drain:
        drain = drain or (Drain(seen.held) if seen.held else _AGENTS_DRAIN)
    reason = _reason(state, drain, _cause(backend, seen, part))
    # An agent's part is taken of the slots and not of the weight: so no others' slots move, whatever it says.
    return DesiredBackend(backend, number, state, reason, row, share * part, state is State.UP, usable=usable)


_AGENTS_DRAIN = Drain("its agent says drain")


def _cause(backend: Backend, seen: Health, part: float) -> str:
    """Return why a backend is up or down, with what an operator or its agent wants of its weight."""
    if seen.up and not backend.weight:
        return "; ".join(filter(None, ("its weight is 0", seen.cause)))
    return f"its agent says {100 * part:g} % of its weight; {seen.cause}" if seen.up and part < 1 else seen.cause


def _reason(state: State, drain: Drain | None, cause: str) -> str:
    """Say what matters most first: that it is draining, or why it could not be used anyway."""
    if drain is None:
        return cause
    if state is not State.DRAINING:
        return f"{cause}; {drain.note}"
    return drain.note if drain.over else f"{drain.note}; {cause}"


def _mtu(balancer: Balancer, hop: Hop) -> int:
    return min(balancer.mtu or hop.mtu, hop.mtu)


def _why_not(balancer: Balancer, service: Service, hop: Hop, backend: Backend) -> str:
    """Return why a backend cannot be used although there is a way to it, or nothing."""
    if service.forward is Forward.L2 and not hop.direct:
        return 'behind a router: forward = "l2" needs it on the same link'
    overhead = _way(service, backend.address.version).overhead + second_header(service)
    least = max(LEAST_MTU[vip.address.version] for vip in service.vips)
    if _mtu(balancer, hop) - overhead < least:
        return f"MTU {_mtu(balancer, hop)} on the way is too small: {overhead} bytes of headers leave less than {least}"
    return ""


def _state(backend: Backend, drain: Drain | None, seen: Health) -> State:
    if seen.up is None:
        return State.CHECKING
    if not seen.up:
        return State.DOWN
    if drain or seen.drain:
        return State.DRAINING
    return State.UP if backend.weight and seen.percent != 0 else State.IDLE


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
        "weights": [[*key, weight] for key, weight in sorted(overrides.weights.items())],
        "deadlines": [[*key, until] for key, until in sorted(overrides.deadlines.items())],
        "removing": [[*key, until] for key, until in sorted(overrides.removing.items())],
        "prefixes": overrides.prefixes,
    }
