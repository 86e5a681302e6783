"""What is measured: the floors, and the balancer exactly as the product compiles and fills it for a configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from random import Random

from tools.bench.driver import XDP_TX, request
from xdplb.dataplane import syscall
from xdplb.dataplane.kernel import Kernel, request_for
from xdplb.dataplane.loader import Place, Request, obtain
from xdplb.desired import Hop, Overrides, desire
from xdplb.features import spec_for
from xdplb.guard import Lists
from xdplb.model import Address, Backend, Balancer, Config, Forward, Guard, Limits, Rate, Service, Vip
from xdplb.prefixes import Prefix, Prefixes
from xdplb.reconcile import needed, reconcile
from xdplb.sweep import Clock
from xdplb.tables import MOVING, PutSlots, Way, slot_parts, slot_word

BACKENDS = 100
COPIES = 3  # of each program: where its code happens to lie costs or saves a ns or two
SEED, HASH_KEY = 0x9E3779B97F4A7C15, 0x0F1E2D3C4B5A6978
OWN_MAC, NEXT_MAC = bytes.fromhex("020000000202"), bytes.fromhex("020000000303")
VIPS: dict[int, Address] = {4: IPv4Address("192.0.2.10"), 6: IPv6Address("2001:db8::10")}
SOURCES: dict[int, Address] = {4: IPv4Address("10.0.2.2"), 6: IPv6Address("fd00:2::2")}
XDP_PASS = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """One program, loaded several times: fed with frames of `family` to so many VIPs, it ends them in `action`.

    They are longer by `grows` bytes then. `slower`: by how much fewer turns are enough.
    """

    name: str
    family: int
    grows: int
    fds: tuple[int, ...]
    action: int = XDP_TX
    vips: int = 1
    slower: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """A configuration to measure; `sent` is the family of the frames, `vips` how many services share the load."""

    name: str
    sent: int
    config: Config
    way: Way
    vips: int = 1
    moving: bool = False
    prefixes: int = 0
    stranger: bool = False
    slower: int = 1


def frame(family: int, syn: bool) -> bytes:
    """Return the least TCP packet to the VIP, in a frame as long as the wire wants it (64 bytes with its checksum)."""
    tcp = bytes.fromhex("0400 0050 00000001 00000001") + bytes([0x50, 0x02 if syn else 0x10]) + bytes(6)
    if family == 4:
        network = bytes.fromhex("4500 0028 0001 4000 40 06 0000 0a000001") + VIPS[4].packed
    else:
        network = bytes.fromhex("60000000 0014 06 40") + IPv6Address("2001:db8:c::7").packed + VIPS[6].packed
    ethernet = OWN_MAC + NEXT_MAC + bytes.fromhex("0800" if family == 4 else "86dd")
    return (ethernet + network + tcp).ljust(60, b"\0")


def service(vip: int, backend: int, number: int = 0, backends: int = BACKENDS, **fields: object) -> Service:
    """Return a service with one VIP of one family and backends of one family, and no check."""
    first: Address = IPv4Address("10.0.11.2") if backend == 4 else IPv6Address("fd00:b::2")
    among = tuple(Backend(f"b{n}", first + n + number * backends) for n in range(backends))
    return Service(f"web{number}", (Vip(VIPS[vip] + number, 80),), among, **fields)  # type: ignore[arg-type]


def cases() -> Iterator[Case]:
    """Yield what is measured, each with what its configuration alone compiles in."""

    def config(*services: Service) -> Config:
        return Config(Balancer(("eth0",)), services)

    yield Case("IPv4 in IPv4", 4, config(service(4, 4)), Way.IPIP4)
    yield Case("IPv6 in IPv6", 6, config(service(6, 6)), Way.IPIP6)
    both = config(service(4, 4), replace(service(6, 6), name="six"))
    yield Case("IPv4 in IPv4, of both", 4, both, Way.IPIP4)
    yield Case("IPv6 in IPv6, of both", 6, both, Way.IPIP6)
    yield Case("IPv4, L2 DSR", 4, config(service(4, 4, forward=Forward.L2)), Way.L2)
    yield Case("IPv4, GUE", 4, config(service(4, 4, forward=Forward.GUE)), Way.GUE4)
    yield Case("IPv6, GUE", 6, config(service(6, 6, forward=Forward.GUE)), Way.GUE6)
    yield Case("IPv4, VLAN", 4, Config(Balancer(("eth0",), vlan=True), (service(4, 4),)), Way.IPIP4)
    for number in (100, 1000):
        many = config(*(service(4, 4, n, 10) for n in range(number)))
        yield Case(f"{number:,} services", 4, many, Way.IPIP4, vips=number)
    limits = Limits(packets=Rate(1_000_000, 1_000_000_000), connections=Rate(1_000_000, 1_000_000_000))
    guarded = replace(config(service(4, 4, limits=limits)), guard=Guard(max_clients=1 << 20))
    yield Case("rate limits", 4, guarded, Way.IPIP4, slower=2)
    each = replace(config(service(4, 4, limits=replace(limits, connections=None))), guard=Guard(max_clients=1 << 20))
    yield Case("block list of 1M, rate limit", 4, each, Way.IPIP4, slower=4, prefixes=1_000_000)
    yield Case("passive", 4, config(service(4, 4, passive=True)), Way.IPIP4)
    yield Case("every slot moving", 4, config(service(4, 4)), Way.IPIP4, moving=True, slower=2)
    yield Case("no VIP", 4, config(service(4, 4, 77)), Way.IPIP4, stranger=True)


def prepare(place: Place, case: Case) -> Request:
    """Fill tables as the daemon does for this configuration; return the order for the program that goes with them."""
    hops = {
        b.address: Hop(2, OWN_MAC, NEXT_MAC, SOURCES[b.address.version], 9000)
        for s in case.config.services
        for b in s.backends
    }
    desired = desire(case.config, Overrides(), {}, dict(hops))
    lists = Lists(blocked=draw_prefixes(case.prefixes))
    spec = spec_for(case.config, case.config.services, HASH_KEY, None, SEED, prefixes=lists.words())
    spec = replace(spec, block_counts_only=True, capacity=spec.capacity.union(needed(desired)))
    if case.moving:
        spec = replace(spec, capacity=replace(spec.capacity, flows=1 << 18))
    kernel = Kernel.load(place, spec)
    kernel.apply(reconcile(desired, kernel.tables(), spec.capacity, spec.seed))
    if case.moving:
        words = {
            slot: slot_word(slot_parts(word)[0], slot_parts(word)[0] % BACKENDS + 1, MOVING)
            for slot, word in enumerate(kernel.tables().slots)
            if word
        }
        kernel.apply([PutSlots(desired[0].identity, words)])
        kernel.stamp = Clock().word
    if case.prefixes:
        Prefixes(kernel.words("prefix_roots"), kernel.words("prefix_spans")).load(lists.blocked, ())
    kernel.close()
    return request_for(spec)


def draw_prefixes(number: int) -> set[Prefix]:
    """Return so many IPv4 prefixes at random, of the lengths that block lists have."""
    draw, found = Random(1), set[Prefix]()
    while len(found) < number:
        bits = draw.choice((20, 22, 24, 24, 24, 28, 32, 32))
        found.add(Prefix(4 << bits | draw.getrandbits(bits)))
    return found


@contextmanager
def subjects(
    places: Callable[[str], Place], copies: int = COPIES, only: str = ""
) -> Iterator[tuple[dict[int, Subject], list[Subject]]]:
    """Load everything: the stub of each family, and what is measured; each case in a place of its own."""
    with ExitStack() as stack:

        def load(place: Place, order: Request) -> tuple[int, ...]:
            fds = []
            for copy in range(copies):
                another = replace(order, defines={**order.defines, "COPY": copy})  # or it would be adopted
                fds.append(syscall.get(obtain(place, another).program))
                stack.callback(os.close, fds[-1])
            return tuple(fds)

        floors = places("floors")
        stub, floor, floor2 = (load(floors, request("floors.c", "floors", FLOOR=number)) for number in range(3))
        stubs = {family: Subject("stub", family, 0, stub) for family in (4, 6)}
        measured = [Subject("floor", 4, 0, floor), Subject("floor2", 4, 20, floor2)]
        for number, case in enumerate(case for case in cases() if only in case.name):
            place = places(f"case{number}")
            order = prepare(place, case)
            action, grows = (XDP_PASS, 0) if case.stranger else (XDP_TX, case.way.overhead)
            fds = load(place, order)
            measured.append(Subject(case.name, case.sent, grows, fds, action, case.vips, case.slower))
        yield stubs, measured
