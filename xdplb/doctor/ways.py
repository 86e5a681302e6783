"""Does a frame find its way to each backend, and do answers find theirs? Routes, neighbours, MTU. Pure.

Ten thousand backends are mostly behind one router: they are told together.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator

from xdplb.doctor.facts import Box, Way
from xdplb.doctor.finding import Finding, few
from xdplb.features import ways_of
from xdplb.model import Address, Forward, Service
from xdplb.traps import STRICT

FULL = 1500  # bytes of a client's full-sized packet

# include/uapi/linux/neighbour.h
_NUD_UNRESOLVED = 0x01 | 0x20  # incomplete, failed
_REFUSED = {
    errno.ENETUNREACH: "there is no route to",
    errno.EHOSTUNREACH: "the route says unreachable, to",
    errno.EINVAL: "the route is a blackhole, to",
    errno.EACCES: "the route says prohibit, to",
}


def judge(box: Box) -> Iterator[Finding]:
    """Yield what is wrong with the ways to backends."""
    yield from _routes(box)
    yield from _links(box)
    yield from _neighbours(box)
    yield from _back(box)
    yield from _mtus(box)


def named(box: Box, addresses: Iterable[Address]) -> str:
    """Say which backends have these addresses, in a few words."""
    backends = box.backends_by_address
    names = [name for address in addresses for name in backends.get(address, [str(address)])]
    return f"{len(names)} backends ({few(names)})" if len(names) > 1 else "".join(names)


def good_ways(box: Box) -> dict[Address, Way]:
    """Return the ways that lead somewhere by the balancer's interfaces."""
    return {address: way for address, way in box.ways.items() if not way.error and not way.local and way.ours}


def _prefix(address: Address) -> str:
    return f"{address}/{address.max_prefixlen}"


def _gateway(box: Box, version: int) -> str:
    """Say by which router most others are reached; that is where somebody would send a lost one."""
    found = Counter(
        f"via {way.gateway} dev {box.name_of(way.oif)}"
        for way in good_ways(box).values()
        if way.gateway and way.gateway.version == version
    )
    name = box.interfaces[0].name if box.interfaces else "INTERFACE"
    return found.most_common(1)[0][0] if found else f"via GATEWAY dev {name}"


def _routes(box: Box) -> Iterator[Finding]:
    refused: dict[tuple[int, int], list[Address]] = {}
    elsewhere: dict[int, list[Address]] = {}
    for address, way in box.ways.items():
        if way.error:
            refused.setdefault((way.error, address.version), []).append(address)
        elif way.local:
            fix = f"ip addr del {address}/{box.addresses.get(address, (0, address.max_prefixlen))[1]} dev "
            fix += box.name_of(box.addresses[address][0]) if address in box.addresses else "INTERFACE"
            yield Finding("backend-here", f"{address} ({named(box, [address])}) is an address of this box", (fix,))
        elif not way.ours:
            elsewhere.setdefault(way.oif, []).append(address)
    for (error, version), addresses in refused.items():
        seen = f"{_REFUSED.get(error, 'the kernel refuses to send to')} {named(box, addresses)}"
        fixes = [f"ip route replace {_prefix(address)} {_gateway(box, version)}" for address in addresses[:3]]
        yield Finding("route-missing", seen, (f"ip route get {addresses[0]}", *fixes))
    for oif, addresses in elsewhere.items():
        seen = f"the route to {named(box, addresses)} leaves by {box.name_of(oif)}, which is not the balancer's"
        fix = f"ip route replace {_prefix(addresses[0])} {_gateway(box, addresses[0].version)}"
        yield Finding("route-elsewhere", seen, (fix,))


def _links(box: Box) -> Iterator[Finding]:
    """Where only the Ethernet header changes, the next hop must be the backend itself."""
    wanted = {b.address for s in box.services if s.forward is Forward.L2 for b in s.backends}
    far = [address for address, way in good_ways(box).items() if way.gateway and address in wanted]
    if far:
        fix = 'set forward = "ipip"'
        yield Finding("link-needed", f'{named(box, far)} with forward = "l2" is behind a router', (fix,))


def _neighbours(box: Box) -> Iterator[Finding]:
    behind: dict[tuple[int, Address], list[Address]] = {}
    for address, way in good_ways(box).items():
        behind.setdefault((way.oif, way.gateway or address), []).append(address)
    own = {link.mac: link.name for link in box.links.values() if any(link.mac)}
    alike: dict[tuple[str, int], list[tuple[Address, list[Address]]]] = {}
    for hop, addresses in behind.items():
        entry, claims, name = box.neighbours.get(hop), box.claims.get(hop), box.name_of(hop[0])
        who = f"{hop[1]} on {name} (next hop of {named(box, addresses)})"
        if claims and len(claims) > 1:
            seen = f"{who} is claimed by {' and '.join(sorted(mac.hex(':') for mac in claims))}"
            yield Finding("neighbour-twice", seen, (f"arping -D -I {name} {hop[1]}",))
        if entry and entry.mac in own:
            seen = f"{who} has the MAC address of this box's own {own[entry.mac]}, {entry.mac.hex(':')}"
            yield Finding("neighbour-ours", seen, (f"ip neigh del {hop[1]} dev {name}",))
        elif entry and any(entry.mac) and claims and entry.mac not in claims:
            seen = f"{who} is {entry.mac.hex(':')} here, and {min(claims).hex(':')} answers"
            yield Finding("neighbour-wrong", seen, (f"ip neigh del {hop[1]} dev {name}",))
        elif claims:
            continue  # it answered just now, whatever the entry says
        elif entry and entry.state & ~_NUD_UNRESOLVED:
            continue  # the kernel knows it, and who does not answer to a question of ours may have a reason
        elif claims is None and not (entry and entry.state):
            alike.setdefault(("neighbour-unknown", hop[0]), []).append((hop[1], addresses))
        else:
            alike.setdefault(("neighbour-silent", hop[0]), []).append((hop[1], addresses))
    for (check, oif), hops in alike.items():
        name, answers = box.name_of(oif), "is not known" if check == "neighbour-unknown" else "does not answer"
        whose = named(box, [address for _, addresses in hops for address in addresses])
        what = f"neighbour {few(hop for hop, _ in hops)} on {name} {answers}: next hop of {whose}"
        yield Finding(check, what, tuple(f"ping -c 1 -I {name} {hop}" for hop, _ in hops[:3]))


def _back(box: Box) -> Iterator[Finding]:
    """An answer comes in by the interface that has its address; strictly, only if the way there leaves by it."""
    crossed: dict[tuple[int, int], list[Address]] = {}
    for address, way in good_ways(box).items():
        holder = box.addresses.get(way.source, (0, 0))[0] if way.source else 0
        if holder and holder != way.oif and not _below(box, holder, way.oif) and box.name_of(holder) != "lo":
            crossed.setdefault((holder, way.oif), []).append(address)
    for (holder, oif), addresses in crossed.items():
        name, link = box.name_of(holder), box.links.get(holder)
        seen = f"questions to {named(box, addresses)} leave by {box.name_of(oif)} with an address of {name}"
        four = [address for address in addresses if address.version == 4]
        if link and link.rp_filter == STRICT and four:
            fix = f"sysctl -w net.ipv4.conf.{name.replace('.', '/')}.rp_filter=2"
            yield Finding("answers-dropped", f"{seen}, where rp_filter is strict", (fix,))
        else:
            yield Finding("way-back", seen, (f"ip route get {addresses[0]}", f"ip addr show dev {box.name_of(oif)}"))


def _below(box: Box, index: int, other: int) -> bool:
    """Whether one interface is a part of the other."""
    pair = [box.links.get(index), box.links.get(other)]
    return any(
        link is not None and number in (link.master, link.parent)
        for link, number in zip(pair, (other, index), strict=True)
    )


def _overhead(service: Service) -> int:
    second = (40 if any(b.address.version == 6 for b in service.backends) else 20) if service.second_chance else 0
    return max((way.overhead for way in ways_of(service)), default=0) + second


def _mtus(box: Box) -> Iterator[Finding]:
    need = FULL + max(map(_overhead, box.services), default=0)
    for nic in box.interfaces:
        if nic.mtu < need:
            seen = f"{nic.name} has MTU {nic.mtu}, full-sized packets with their outer header need {need}"
            yield Finding("mtu-interface", seen, (f"ip link set {nic.name} mtu {need}",))
    needs: dict[Address, int] = {}
    for service in box.services:
        needs |= dict.fromkeys((b.address for b in service.backends), FULL + _overhead(service))
    small: dict[int, list[Address]] = {}
    for address, way in good_ways(box).items():
        if way.mtu and way.mtu < needs.get(address, 0):
            small.setdefault(way.mtu, []).append(address)
    for mtu, addresses in small.items():
        seen = f"the route to {named(box, addresses)} has MTU {mtu}, full-sized packets need {needs[addresses[0]]}"
        fixes = [f"ip route replace {_prefix(a)} {_by(box, box.ways[a])} mtu {needs[a]}" for a in addresses[:3]]
        yield Finding("mtu-route", seen, (f"ip route get {addresses[0]}", *fixes))


def _by(box: Box, way: Way) -> str:
    return f"via {way.gateway} dev {box.name_of(way.oif)}" if way.gateway else f"dev {box.name_of(way.oif)}"
