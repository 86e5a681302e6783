"""Configurations to try: what is compiled in, and states of the services to go through, one after the other.

All of them live in one small world of addresses, so that frames made for one are nearly right for another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from random import Random

from xdplb.dataplane.plane import SWITCHES, Spec
from xdplb.desired import DesiredService, Health, Hop, Overrides, desire
from xdplb.model import (
    Action,
    Address,
    Affinity,
    Backend,
    Balancer,
    Check,
    Config,
    Forward,
    Limits,
    Network,
    Protocol,
    Rate,
    Service,
    Vip,
)
from xdplb.tables import Capacity, Way

CAPACITY = Capacity(rows_bits=8, slots=1 << 15, backends=512, limits=16, clients=4096)
NO_RATE, ENDLESS = 0, 4_000_000_000  # of answers: as many as there are; 64, and the next one in four minutes
PER_S = 1 / 60  # so slow that nothing is paid off while a configuration is tried
VIPS: dict[int, list[Address]] = {
    4: [ip_address(f"192.0.2.{n}") for n in range(1, 7)],
    6: [ip_address(f"2001:db8::{n}") for n in range(1, 7)],
}
NETWORKS: dict[int, list[Network]] = {
    4: [ip_network(text) for text in ("198.18.0.0/16", "198.18.4.0/22", "203.0.113.0/28", "203.0.113.128/25")],
    6: [
        ip_network(text) for text in ("2001:db8:aa::/48", "2001:db8:aa:bb::/64", "2001:db8:cc::/127", "2001:db8:d::/50")
    ],
}
PORTS = [80, 443, 53, 1, 65535, 8005]
RANGES = [(8000, 8010), (8011, 8012), (1, 65535), (65000, 65535), (1, 2), (256, 511)]
FAMILIES = [(1, 1), (1, 0), (0, 1), (1, 1), (1, 1), (1, 1), (0, 1), (1, 0), (1, 1), (1, 1), (1, 1), (0, 0)]
MACS = [bytes.fromhex(f"0200000000{n:02x}") for n in range(1, 8)]


@dataclass(frozen=True, slots=True)
class Case:
    """A configuration: what is compiled in, the states to go through, which numbers of `devices` lead anywhere."""

    spec: Spec
    states: tuple[tuple[DesiredService, ...], ...]
    devices: tuple[int, ...]
    lists: tuple[tuple[str, str], ...] = ()  # prefixes with "block" or "allow"


def spec_of(seed: int, number: int) -> Spec:
    """Return what is compiled in. The first has everything; later, two after each other are complements."""
    rng = Random(f"{seed} spec {number // 2}")
    on = {name: number == 0 or (rng.random() < 0.5) == (number % 2 == 0) for name in SWITCHES}
    if number == 1:
        on = dict.fromkeys(SWITCHES, False)
    rng = Random(f"{seed} numbers {number}")
    on["vip4"], on["vip6"] = map(bool, FAMILIES[number % len(FAMILIES)])
    if not any(on[way.value] for way in Way):
        on[rng.choice(list(Way)).value] = True
    return Spec(
        capacity=CAPACITY,
        seed=rng.getrandbits(64),
        hash_key=rng.getrandbits(64),
        **on,
        source4_bits=rng.choice([0, 0, 1, 8, 16, 20]),
        source6_bits=rng.choice([0, 0, 3, 16, 20]),
        outer_df=rng.random() < 0.6,
        block_counts_only=rng.random() < 0.3,
        answer_cost=ENDLESS if number % 8 == 3 else NO_RATE,
    )


def case_of(spec: Spec, rng: Random) -> Case:
    """Return a configuration for what is compiled in."""
    maker = _Maker(spec, rng)
    return Case(spec, maker.states(), tuple(sorted(rng.sample(range(4), rng.randrange(4)))))


class _Maker:
    def __init__(self, spec: Spec, rng: Random) -> None:
        self.spec, self.rng = spec, rng
        self.families = [version for version in (4, 6) if (spec.vip4, spec.vip6)[version == 6]]
        self.forwards = [
            forward
            for forward, ways in {
                Forward.IPIP: (spec.ipip4, spec.ipip6),
                Forward.GUE: (spec.gue4, spec.gue6),
                Forward.L2: (spec.l2, spec.l2),
                Forward.LOCAL: (spec.local,),
            }.items()
            if any(ways)
        ]
        self.taken: dict[tuple[Network, Protocol], list[Vip]] = {}

    def states(self) -> tuple[tuple[DesiredService, ...], ...]:
        """A first state, and what may become of it."""
        rng = self.rng
        count = rng.choice([1, 2, 3, 4, 5, 6]) if rng.random() < 0.96 else 0
        services = [s for n in range(count) if (s := self._service(f"service{n}"))]
        hops = {b.address: self._hop(b.address.version) for s in services for b in _reserve(s)}
        states = [self._state(services, hops)]
        for _ in range(rng.choice([0, 1, 1, 2])):
            services = [self._changed(service) for service in services if rng.random() < 0.93]
            states.append(self._state(services, hops))
        return tuple(states)

    def _state(self, services: Sequence[Service], hops: dict[Address, Hop | str]) -> tuple[DesiredService, ...]:
        rng = self.rng
        broken = rng.choice([0.0, 0.1, 0.3, 0.6, 1.0 if rng.random() < 0.2 else 0.1])
        keys = [(s.name, b.name) for s in services for b in s.backends]
        health = {key: Health(rng.random() >= broken, "") for key in keys}
        draining = {key for key in keys if rng.random() < 0.05}
        return desire(Config(Balancer(("eth0",)), tuple(services)), Overrides(draining=draining), health, hops)

    def _service(self, name: str) -> Service | None:
        rng, spec = self.rng, self.spec
        vips = tuple(vip for _ in range(rng.choice([1, 2, 3, 4, 8, 20])) if (vip := self._vip()))
        if not vips or not self.forwards:
            return None
        among = [forward for forward in self.forwards if forward is not Forward.LOCAL]
        forward = rng.choice(among * 3 + self.forwards)
        service = Service(name, vips, (), (Check(80),), forward=forward, gue_port=rng.choice([6080, 1, 65535]))
        if forward is not Forward.LOCAL:
            count = rng.choice([1, 1, 2, 3, 5, 40])
            ring_size = rng.choice([None, 64, 64, 1024])
            service = replace(service, backends=tuple(_reserve(service, self.spec)[:count]), ring_size=ring_size)
        if spec.client and rng.random() < 0.5:
            lengths = {"affinity_prefix4": rng.choice([32, 24, 8]), "affinity_prefix6": rng.choice([128, 64, 33])}
            service = replace(service, affinity=Affinity.CLIENT, **lengths)  # type: ignore[arg-type]
        if spec.second_chance and forward in (Forward.IPIP, Forward.GUE) and rng.random() < 0.6:
            service = replace(service, second_chance=True)
        if spec.passive and rng.random() < 0.6:
            service = replace(service, passive=True)
        if spec.limits and rng.random() < 0.35:
            service = replace(service, limits=self._limits())
        return service

    def _vip(self) -> Vip | None:
        """One that no other is in the way of, as the configuration file would have it."""
        rng, spec = self.rng, self.spec
        if not self.families:
            return None
        version = rng.choice(self.families)
        wide = spec.networks and rng.random() < 0.3
        network = rng.choice(NETWORKS[version]) if wide else ip_network(rng.choice(VIPS[version]))
        protocols = [Protocol.TCP, Protocol.TCP, Protocol.UDP]
        protocols += [Protocol.SCTP] * spec.sctp + [Protocol.ANY] * spec.any
        protocol = rng.choice(protocols)
        first, last = rng.choice(PORTS), 0
        if protocol is Protocol.ANY:
            first = 0
        elif spec.ranges and rng.random() < 0.4:
            first, last = rng.choice(RANGES)
            if rng.random() < 0.5:
                first = rng.randrange(1, 1 << rng.randrange(1, 16))
                last = first + rng.randrange(1, 4)
        vip = Vip(network.network_address, first, protocol, last, network.prefixlen if wide else 0)
        others = self.taken.setdefault((network, protocol), [])
        if any(_overlap(vip, other) for other in others) or len([o for o in others if o.last_port]) == 16:
            return None
        others.append(vip)
        return vip

    def _limits(self) -> Limits:
        rng = self.rng

        def rate(likely: float) -> Rate | None:
            return Rate(PER_S, rng.choice([1, 2, 5, 20, 60])) if rng.random() < likely else None

        prefixes = {"prefix4": rng.choice([32, 24, 8, 1]), "prefix6": rng.choice([64, 128, 48, 3])}
        action = Action.COUNT if rng.random() < 0.4 else Action.DROP
        return Limits(Rate(PER_S, 40) if rng.random() < 0.5 else None, rate(0.5), rate(0.6), action=action, **prefixes)

    def _hop(self, version: int) -> Hop | str:
        rng, spec = self.rng, self.spec
        if rng.random() < 0.04:
            return "no route"
        bits = spec.source4_bits if version == 4 else spec.source6_bits
        number = int(ip_address("10.0.0.0" if version == 4 else "fd00:9::")) | rng.getrandbits(24)
        if version == 4 and rng.random() < 0.5:  # the outer checksum's lower byte is near its carry
            rest = 0x45 + 0x40 * (1 + spec.outer_df) + 10 + 10
            number = number & ~0xFF00 | (0xFF - rest - rng.randrange(4) & 0xFF) << 8
        number = number >> bits << bits
        return Hop(
            rng.choice([0, 0, 1, 7]),
            rng.choice(MACS),
            rng.choice(MACS),
            IPv4Address(number) if version == 4 else IPv6Address(number),
            mtu=rng.choice([596, 608, 641, 1320, 1333, 1400, 1500, 1500, 1500, 9000]),
            vlan=rng.randrange(1, 65535) if spec.vlan and rng.random() < 0.4 else 0,
            device=rng.randrange(4),
        )

    def _changed(self, service: Service) -> Service:
        """Other backends, fewer VIPs."""
        rng = self.rng
        vips = tuple(vip for vip in service.vips if rng.random() < 0.9) or service.vips
        if service.forward is Forward.LOCAL:
            return replace(service, vips=vips)
        among = _reserve(service, self.spec)
        count = max(1, min(len(among), len(service.backends) + rng.choice([-2, -1, 0, 0, 1, 2])))
        ring_size = service.ring_size and service.ring_size * rng.choice([1, 1, 1, 2])
        return replace(service, vips=vips, backends=tuple(among[rng.randrange(2) :][:count]), ring_size=ring_size)


def _overlap(one: Vip, other: Vip) -> bool:
    if bool(one.last_port) != bool(other.last_port):
        return False
    return one.port <= (other.last_port or other.port) and other.port <= (one.last_port or one.port)


def _reserve(service: Service, spec: Spec | None = None) -> list[Backend]:
    """All backends that a service may ever have."""
    if spec is None or service.forward is Forward.L2:
        versions = [4, 6]
    else:
        versions = [v for v in (4, 6) if getattr(spec, f"{service.forward}{v}")]
    block = int(service.name[-1])
    texts = {4: "10.{}.0.{}", 6: "fd00:{}::{}"}
    found = [
        Backend(f"b{v}-{n}", ip_address(texts[v].format(block, n)), weight=(n * 7) % 5 * 50)
        for n in range(1, 46)
        for v in versions
    ]
    return found[:-1]
