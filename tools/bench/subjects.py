"""What is measured: the floors, and the balancer exactly as the product compiles and fills it for a configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from tools.bench.driver import request
from xdplb.dataplane import syscall
from xdplb.dataplane.kernel import Kernel, request_for
from xdplb.dataplane.loader import Place, Request, obtain
from xdplb.dataplane.plane import Spec
from xdplb.desired import Hop, Overrides, desire
from xdplb.model import Address, Backend, Balancer, Config, Service, Vip
from xdplb.reconcile import reconcile
from xdplb.tables import Capacity

BACKENDS = 100
COPIES = 3  # of each program: where its code happens to lie costs or saves a ns or two
SEED, HASH_KEY = 0x9E3779B97F4A7C15, 0x0F1E2D3C4B5A6978
OWN_MAC, NEXT_MAC = bytes.fromhex("020000000202"), bytes.fromhex("020000000303")
VIPS: dict[int, Address] = {4: IPv4Address("192.0.2.10"), 6: IPv6Address("2001:db8::10")}
SOURCES: dict[int, Address] = {4: IPv4Address("10.0.2.2"), 6: IPv6Address("fd00:2::2")}
OUTER_BYTES = {4: 20, 6: 40}


@dataclass(frozen=True, slots=True)
class Subject:
    """One program, loaded several times: fed with frames of `family`, it sends them back longer by `grows` bytes."""

    name: str
    family: int
    grows: int
    fds: tuple[int, ...]


def frame(family: int, syn: bool) -> bytes:
    """Return the least TCP packet to the VIP, in a frame as long as the wire wants it (64 bytes with its checksum)."""
    tcp = bytes.fromhex("0400 0050 00000001 00000001") + bytes([0x50, 0x02 if syn else 0x10]) + bytes(6)
    if family == 4:
        network = bytes.fromhex("4500 0028 0001 4000 40 06 0000 0a000001") + VIPS[4].packed
    else:
        network = bytes.fromhex("60000000 0014 06 40") + IPv6Address("2001:db8:c::7").packed + VIPS[6].packed
    ethernet = OWN_MAC + NEXT_MAC + bytes.fromhex("0800" if family == 4 else "86dd")
    return (ethernet + network + tcp).ljust(60, b"\0")


def service(family: int) -> Service:
    """Return a service with one VIP and its backends, all of one family, and no check."""
    first: Address = IPv4Address("10.0.11.2") if family == 4 else IPv6Address("fd00:b::2")
    backends = tuple(Backend(f"b{n}", first + n) for n in range(BACKENDS))
    return Service(f"web{family}", (Vip(VIPS[family], 80),), backends)


def fill(kernel: Kernel) -> None:
    """Fill the tables as the daemon does for a service of each family."""
    services = tuple(service(family) for family in (4, 6))
    hops = {b.address: Hop(2, OWN_MAC, NEXT_MAC, SOURCES[b.address.version]) for s in services for b in s.backends}
    desired = desire(Config(Balancer("eth0"), services), Overrides(), {}, dict(hops))
    kernel.apply(reconcile(desired, kernel.tables(), kernel.spec.capacity, kernel.spec.seed))


def balancers(place: Place) -> dict[str, tuple[int, Request]]:
    """Return what the daemon orders for IPv4, for IPv6 and for both, as (family to send, order) by name."""
    spec = Spec(vip4=True, vip6=True, outer4=True, outer6=True, capacity=Capacity(), seed=SEED, hash_key=HASH_KEY)
    with closing(Kernel(place, spec)) as kernel:
        fill(kernel)
    both = request_for(spec)
    four = request_for(replace(spec, vip6=False, outer6=False))
    six = request_for(replace(spec, vip4=False, outer4=False))
    return {"IPv4": (4, four), "IPv6": (6, six), "IPv4 (of both)": (4, both), "IPv6 (of both)": (6, both)}


@contextmanager
def subjects(place: Place, copies: int = COPIES) -> Iterator[tuple[dict[int, Subject], list[Subject]]]:
    """Load everything: the stub of each family, and what is measured."""
    with ExitStack() as stack:

        def load(name: str, family: int, grows: int, order: Request) -> Subject:
            fds = []
            for copy in range(copies):
                another = replace(order, defines={**order.defines, "COPY": copy})  # or it would be adopted
                fds.append(syscall.get(obtain(place, another).program))
                stack.callback(os.close, fds[-1])
            return Subject(name, family, grows, tuple(fds))

        stub, floor, floor2 = (request("floors.c", "floors", FLOOR=number) for number in range(3))
        stubs = {family: load("stub", family, 0, stub) for family in (4, 6)}
        measured = [load("floor", 4, 0, floor), load("floor2", 4, OUTER_BYTES[4], floor2)]
        for name, (family, order) in balancers(place).items():
            measured.append(load(name, family, OUTER_BYTES[family], order))
        yield stubs, measured
