"""The one pyroute2: the NIC, the way to each backend, kept fresh by netlink events, and what probes need on their way.

For each backend: which way would the kernel send, through which neighbour, from which address? The XDP program sends by
itself, so the kernel sees no traffic that would keep a neighbour's entry alive; each next hop is therefore made
a *managed* neighbour (NTF_EXT_MANAGED, Linux 5.16), which the kernel resolves and probes on its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeAlias

from pyroute2 import AsyncIPRoute
from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import TC_H_CLSACT

from xdplb.desired import Hop
from xdplb.errors import KernelError, RefusedError
from xdplb.links import Numbers, follow
from xdplb.logs import log_bug, log_event
from xdplb.model import Address
from xdplb.traps import Port, VipRoute

log = logging.getLogger("xdplb")

_Next: TypeAlias = tuple[int, Address]  # a neighbour: interface, address

# include/uapi/linux/rtnetlink.h and neighbour.h
_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400  # links, neighbours, addresses and routes of both families
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_RTM_F_FIB_MATCH = 0x2000
_ARPHRD_ETHER = 1  # include/uapi/linux/if_arp.h
_TC_EGRESS, _TC_INGRESS = 0xFFFFFFF3, 0xFFFFFFF2  # parents of filters, include/uapi/linux/pkt_sched.h
_NUD_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # reachable, stale, delay, probe, noarp, permanent
_NUD_INCOMPLETE, _NUD_REACHABLE, _NUD_PROBE = 0x01, 0x02, 0x10
_NUD_FIXED = 0x40 | 0x80  # noarp, permanent
_NTF_EXT_MANAGED = 1
_XDP_MODES = {"xdp": "native", "xdpgeneric": "generic", "xdpoffload": "offload"}  # as pyroute2 calls them

SETTLE_S = 0.02  # netlink events come in bursts: look once at the end of one


@dataclass(frozen=True, slots=True)
class Nic:
    """What the kernel says of an interface. `xdp_mode` and `program_id` None: no XDP program is attached.

    `up`: it was switched on; `carrier`: there is somebody at the other end.
    `master` is the bond or bridge that it is a part of, `parent` what a VLAN's interface sends by; 0: none.
    """

    name: str
    index: int
    mac: bytes
    mtu: int
    driver: str
    up: bool
    xdp_mode: str | None
    program_id: int | None
    rx_packets: int
    tx_packets: int = 0
    master: int = 0
    parent: int = 0
    vlan: int = 0
    carrier: bool = True
    ethernet: bool = True


def nic_from(link: Any) -> Nic:
    """Read a link message."""
    xdp = link.get("xdp")
    mode = xdp.get_attr("IFLA_XDP_ATTACHED") if xdp else None
    info = link.get("linkinfo")
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
    inside = info.get_attr("IFLA_INFO_DATA") if kind == "vlan" else None
    return Nic(
        name=link.get("ifname"),
        index=link["index"],
        mac=bytes.fromhex((link.get("address") or "").replace(":", "")),
        mtu=link.get("mtu") or 0,
        driver=kind or _driver(link.get("ifname")),
        up=bool(link["flags"] & 1),
        xdp_mode=_XDP_MODES.get(mode or ""),
        program_id=xdp.get_attr("IFLA_XDP_PROG_ID") if xdp and mode else None,
        rx_packets=(link.get("stats64") or {}).get("rx_packets", 0),
        tx_packets=(link.get("stats64") or {}).get("tx_packets", 0),
        master=link.get("master") or 0,
        parent=(link.get("link") or 0) if kind == "vlan" else 0,
        vlan=(inside.get_attr("IFLA_VLAN_ID") or 0) if inside else 0,
        carrier=bool(link.get("carrier")),
        ethernet=link["ifi_type"] == _ARPHRD_ETHER,
    )


def _driver(name: str) -> str:
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(Path("/sys/class/net", name, "device/driver")))
    return "unknown"


def tx_errors(name: str) -> int | None:
    """Return how many frames the driver failed to send for XDP_TX; None when it does not say."""
    try:
        with contextlib.closing(IoctlEthtool(name)) as device:
            counters = list(device.get_statistics())
    except (OSError, EthtoolError):
        return None
    found = [value for key, value in counters if "xdp_tx_err" in key or "xdp_tx_full" in key]
    return sum(found) if found else None


def interface_index(name: str) -> int:
    """Return an interface's number. Raises RefusedError that lists the interfaces there are."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        names = ", ".join(other for _, other in socket.if_nameindex())
        raise RefusedError(f"interface {name!r} does not exist; there are: {names}") from None


def interface_exists(index: int) -> bool:
    """Whether there is an interface of this number."""
    return _name_of(index) != ""


def _name_of(index: int | None) -> str:
    with contextlib.suppress(OSError):
        return socket.if_indextoname(index or 0)
    return ""


async def read_nic(index: int) -> Nic:
    """Return an interface as it is now, or raise KernelError."""
    async with AsyncIPRoute() as ipr:
        return await _read_nic(ipr, index)


async def _read_nic(ipr: Any, index: int) -> Nic:
    try:
        return nic_from((await ipr.link("get", index=index))[0])
    except NetlinkError as error:
        raise KernelError(f"interface number {index} has vanished ({error})") from None


async def read_links() -> list[Nic]:
    """Return every interface as it is now."""
    async with AsyncIPRoute() as ipr:
        return [nic_from(link) async for link in await ipr.link("dump")]


async def read_peer(index: int) -> tuple[int, int | None]:
    """Return the number of what a veth ends in, and by which number its namespace is known here; None: it is this one.

    Raises KernelError.
    """
    async with AsyncIPRoute() as ipr:
        try:
            link = (await ipr.link("get", index=index))[0]
        except NetlinkError as error:
            raise KernelError(f"interface number {index} has vanished ({error})") from None
        return link.get("link") or 0, link.get("link_netnsid")


async def read_addresses() -> dict[Address, tuple[int, int]]:
    """Return this host's addresses: the interface that has it, and its prefix length."""
    async with AsyncIPRoute() as ipr:
        found = [message async for message in await ipr.addr("dump")]
    return {
        ip_address(message.get("local") or message.get("address")): (message["index"], message["prefixlen"])
        for message in found
    }


async def filters_before(index: int, priority: int) -> list[str]:
    """Return what tc filters on an interface's way out come before this priority."""
    async with AsyncIPRoute() as ipr:
        found = [message for message in await _filters(ipr, index) if message["info"] >> 16 < priority]
    return [f"{message.get('kind')} filter {_filter_name(message)} (pref {message['info'] >> 16})" for message in found]


async def own_addresses() -> list[Address]:
    """Return the addresses at which others reach this host: not link-local ones, nor the loopback interface's."""
    loopback = socket.if_nametoindex("lo")
    async with AsyncIPRoute() as ipr:
        found = [(message["index"], ip_address(message.get("address"))) async for message in await ipr.addr("dump")]
    return [address for index, address in found if index != loopback and not address.is_link_local]


async def take_xdp_off(index: int, mode: str) -> None:
    """Detach an XDP program that was attached by netlink. Raises KernelError when a link holds it."""
    flag = {"generic": 2, "native": 4, "offload": 8}[mode]
    async with AsyncIPRoute() as ipr:
        try:
            await ipr.link("set", index=index, xdp={"attrs": [("IFLA_XDP_FD", -1), ("IFLA_XDP_FLAGS", flag)]})
        except NetlinkError as error:
            raise KernelError(f"interface number {index}: its XDP program cannot be detached ({error})") from None


@dataclass(frozen=True, slots=True)
class _Route:
    """Where the kernel would send: next hop on an interface, from a source. `mtu` 0: the interface's."""

    oif: int
    next_hop: Address
    source: Address
    mtu: int = 0
    direct: bool = True


@dataclass(frozen=True, slots=True)
class Egress:
    """By which of the balancer's interfaces a frame leaves, and how. `index` 0: by the one that it came in."""

    index: int
    device: int = 0
    vlan: int = 0


def find_egress(oif: int, indexes: Sequence[int], links: Mapping[int, Nic]) -> Egress | None:
    """Return how frames leave for what the kernel would send by `oif`, with these interfaces as the balancer's.

    A VLAN's interface means a tag on its parent; a bond's means that frames leave by the slave that they came in, and
    the switch spreads them. None: they would leave by an interface that is not the balancer's.
    """
    if oif and oif in indexes:
        return Egress(oif, indexes.index(oif))
    if any((link := links.get(index)) and link.master == oif for index in indexes):
        return Egress(0)
    nic = links.get(oif)
    if nic is None or not nic.parent or nic.vlan == 0:
        return None
    below = find_egress(nic.parent, indexes, links)
    return replace(below, vlan=nic.vlan) if below and not below.vlan else None


class Network:
    """The ways to a changing set of backends, seen from the balancer's interfaces."""

    def __init__(
        self,
        interfaces: Sequence[str],
        source4: Address | None,
        source6: Address | None,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called, in the event loop, after `hops` or `nics` have changed. Raises RefusedError."""
        self.interfaces = {name: interface_index(name) for name in interfaces}  # their numbers now, 0: it has vanished
        self.hops: dict[Address, Hop | str] = {}
        self.tagged = False  # a way to some backend has a tag of its own
        self.links: dict[int, Nic] = {}  # by number
        self.news = 0  # how often links, addresses or routes have changed
        self._removed: set[int] = set()  # numbers whose interfaces were removed since `links` was read
        self._sources: dict[int, Address | None] = {4: source4, 6: source6}
        self._changed = changed
        self._routes: dict[Address, _Route | str] = {}
        self._same: dict[_Route, _Route] = {}  # one object for all routes that are equal
        self._neighbours: dict[_Next, tuple[int, bytes]] = {}  # state, MAC
        self._managed: set[_Next] = set()
        self._lock = asyncio.Lock()
        self._ipr: Any = None
        self._events: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._look_due = self._routes_due = False
        self._took_s = 0.0  # the last look at all routes

    async def __aenter__(self) -> Network:
        self._events, self._ipr = AsyncIPRoute(), AsyncIPRoute()
        await self._events.__aenter__()
        await self._ipr.__aenter__()
        await self._events.bind(groups=_GROUPS)
        await self._read_links()
        await self._read_neighbours()
        self._start(self._watch())
        return self

    async def __aexit__(self, *unused: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._events.close()
        self._ipr.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log_bug(log, "the network is not watched any more", error)

    async def find(self, addresses: Iterable[Address]) -> None:
        """Make `hops` hold the way to exactly these addresses; neighbours may still be resolving afterwards."""
        async with self._lock:
            wanted = set(addresses)
            if wanted == self._routes.keys():
                return
            for address in self._routes.keys() - wanted:
                del self._routes[address]
            for address in wanted - self._routes.keys():
                self._routes[address] = await self._find_route(address)
            await self._manage_neighbours()
        self._publish()

    async def find_more(self, addresses: Iterable[Address]) -> None:
        """Make `hops` hold the way to these addresses, too."""
        more = [address for address in addresses if address not in self._routes]
        if not more:
            return
        async with self._lock:
            for address in more:
                self._routes[address] = await self._find_route(address)
            await self._manage_neighbours()
        made = {address: self._hop(self._routes[address]) for address in more}
        self._take(self.hops | made, made.values())

    async def look_from(self, interfaces: Numbers, sources: Mapping[int, Address | None]) -> None:
        """See all ways anew: from these interfaces, with these sources of outer headers by version, where given."""
        async with self._lock:
            self.interfaces.clear()
            self.interfaces.update(interfaces)
            self._sources = dict(sources)
            await self._read_links()
            self._same.clear()
            for address in list(self._routes):
                self._routes[address] = await self._find_route(address)
            await self._manage_neighbours()
        self._publish()

    async def wait_resolved(self, timeout_s: float) -> None:
        """Return when no neighbour is resolving any more, or after the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(self._resolving(route) for route in self._routes.values()):
                    await asyncio.sleep(0.005)

    def answering(self) -> set[tuple[int, Address]]:
        """Return the next hops in use that answer, as (interface number, address); not those that are set by hand."""
        routes = [route for route in self._routes.values() if isinstance(route, _Route)]
        hops = {(route.oif, route.next_hop) for route in routes}
        state = {hop: self._neighbours.get(hop, (0, b""))[0] for hop in hops}
        return {hop for hop in hops if state[hop] & _NUD_USABLE and not state[hop] & _NUD_FIXED}

    async def ask(self, hops: Iterable[tuple[int, Address]], timeout_s: float) -> set[tuple[int, Address]]:
        """Have the kernel ask these next hops whether they are still there; return those that answer in this time."""
        asked = set(hops)
        for hop in asked:
            await self._probe(*hop)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(self._neighbours.get(hop, (0, b""))[0] & _NUD_PROBE for hop in asked):
                    await asyncio.sleep(0.01)
        return {hop for hop in asked if self._neighbours.get(hop, (0, b""))[0] & _NUD_REACHABLE}

    async def _probe(self, index: int, address: Address) -> None:
        state, mac = self._neighbours.get((index, address), (0, b""))
        if not state & _NUD_USABLE:
            return  # it is being asked already
        self._neighbours[index, address] = (_NUD_PROBE, mac)
        with contextlib.suppress(NetlinkError):
            where: dict[str, Any] = {"dst": str(address), "ifindex": index}
            await self._ipr.neigh("replace", lladdr=mac.hex(":"), state=_NUD_PROBE, **where)
            # A managed entry's state cannot be set: so it is one again only now.
            await self._ipr.neigh("replace", state=0, flags_ext=_NTF_EXT_MANAGED, **where)

    async def _watch(self) -> None:
        """Follow netlink events for ever."""
        while True:
            try:
                async for message in self._events.get():
                    self._take_event(message)
            except OSError as error:  # the kernel had more events than room: look at everything anew
                text = f"netlink events were lost ({error})"
                log_event(log, logging.WARNING, "netlink_lost", text, error=error)
                await self._read_neighbours()
                self.news += 1
                self._look_soon(routes=True)

    def _take_event(self, message: Any) -> None:
        kind = message.get("event", "")
        if kind == "RTM_DELLINK" and message["family"] == socket.AF_UNSPEC:  # a bridge's: only its port is gone
            self._removed.add(message["index"])
        if kind not in ("RTM_NEWNEIGH", "RTM_DELNEIGH"):
            self.news += 1
            self._look_soon(routes=True)
        elif self._take_neighbour(message):
            following = (message["ifindex"], ip_address(message.get("dst")))
            deleted = kind == "RTM_DELNEIGH" and following in self._managed
            if deleted:  # somebody else's doing: have it managed anew
                self._managed.discard(following)
            self._look_soon(routes=deleted)

    def _look_soon(self, routes: bool) -> None:
        """Look once at the end of a burst; a flood of route changes may take a tenth of a core, not more."""
        self._routes_due = self._routes_due or routes
        if not self._look_due:
            self._look_due = True
            delay = max(SETTLE_S, 9 * self._took_s) if routes else SETTLE_S
            asyncio.get_running_loop().call_later(delay, lambda: self._start(self._look()))

    async def _look(self) -> None:
        async with self._lock:
            routes, self._routes_due, self._look_due = self._routes_due, False, False
            before = self._seen()
            if routes:
                began = time.monotonic()
                await self._read_links()
                self._same.clear()
                for address in list(self._routes):
                    self._routes[address] = await self._find_route(address)
                await self._manage_neighbours()
                self._took_s = time.monotonic() - began
        self._publish()
        if routes or self._seen() != before:  # what probes leave by may be another way, too
            self._changed()

    async def _read_neighbours(self) -> None:
        for family in (socket.AF_INET, socket.AF_INET6):
            async for message in await self._ipr.neigh("dump", family=family):
                self._take_neighbour(message)

    async def _read_links(self) -> None:
        removed, self._removed = self._removed, set()
        found = [nic_from(link) async for link in await self._ipr.link("dump")]
        self.links = {nic.index: nic for nic in found}
        self.interfaces.update(follow(self.interfaces, self.links, removed))

    @property
    def indexes(self) -> tuple[int, ...]:
        """The numbers of the balancer's interfaces, in their configured order; 0: it has vanished."""
        return tuple(self.interfaces.values())

    @property
    def nics(self) -> list[Nic]:
        """The balancer's interfaces that there are."""
        return [self.links[index] for index in self.indexes if index in self.links]

    def _seen(self) -> list[Nic]:
        return [replace(nic, rx_packets=0, tx_packets=0) for nic in self.nics]

    def _publish(self) -> None:
        made: dict[int, Hop | str] = {}
        hops = {}
        for address, route in self._routes.items():
            if (known := made.get(id(route))) is None:
                known = self._hop(route)
                if (before := self.hops.get(address)) == known:
                    known = before  # the very object: whoever compares sees it at once
                made[id(route)] = known
            hops[address] = known
        if hops != self.hops:
            self.tagged = False
            self._take(hops, made.values())

    def _take(self, hops: dict[Address, Hop | str], new: Iterable[Hop | str]) -> None:
        self.hops = hops
        self.tagged = self.tagged or any(isinstance(hop, Hop) and hop.vlan for hop in new)
        self._changed()

    def _hop(self, route: _Route | str) -> Hop | str:
        if isinstance(route, str):
            return route
        nic, egress = self.links.get(route.oif), find_egress(route.oif, self.indexes, self.links)
        if nic is None or not nic.up or egress is None:
            return f"{nic.name if nic else f'interface number {route.oif}'} is down or has vanished"
        state, mac = self._neighbours.get((route.oif, route.next_hop), (0, b""))
        if state & _NUD_USABLE and len(mac) == 6:
            mtu = min(route.mtu or nic.mtu, nic.mtu)
            return Hop(egress.index, nic.mac, mac, route.source, mtu, egress.vlan, egress.device, route.direct)
        return f"neighbour {route.next_hop} on {nic.name} does not answer"

    def _resolving(self, route: _Route | str) -> bool:
        """Whether the kernel is still asking for the first time."""
        if isinstance(route, str):
            return False
        return not self._neighbours.get((route.oif, route.next_hop), (0, b""))[0] & ~_NUD_INCOMPLETE

    async def _find_route(self, address: Address) -> _Route | str:
        try:
            route = (await self._ipr.route("get", dst=str(address)))[0]
        except NetlinkError as error:
            return f"no route to {address} ({os.strerror(error.code).lower()})"
        if route["type"] != _RTN_UNICAST:
            return f"{address} is an address of this box, or its route drops"
        oif = route.get("oif") or 0
        if find_egress(oif, self.indexes, self.links) is None:
            name, ours = _name_of(oif), ", ".join(self.interfaces)
            return f"the route to {address} leaves by {name or 'no interface'}, not by {ours}"
        via = route.get("via")  # an IPv6 next hop of an IPv4 route (RFC 5549)
        gateway, source = (
            route.get("gateway") or (via and via["addr"]),
            self._sources[address.version] or route.get("prefsrc"),
        )
        if not source:
            return f"the route to {address} names no source address; set balancer.source{address.version}"
        next_hop = ip_address(gateway) if gateway else address
        metrics = route.get("metrics")
        mtu = (metrics.get("mtu") or metrics.get("RTAX_MTU") or 0) if metrics else 0
        found = _Route(oif, next_hop, ip_address(str(source)), mtu, direct=not gateway)
        return self._same.setdefault(found, found)

    async def _manage_neighbours(self) -> None:
        """Have the kernel resolve and keep every next hop that it does not keep already."""
        routes = {id(route): route for route in self._routes.values()}.values()
        wanted = {(route.oif, route.next_hop) for route in routes if isinstance(route, _Route)}
        for index, address in wanted - self._managed:
            if self._neighbours.get((index, address), (0, b""))[0] & _NUD_FIXED:
                continue  # an entry of the operator's own
            with contextlib.suppress(NetlinkError):
                await self._ipr.neigh("replace", dst=str(address), ifindex=index, state=0, flags_ext=_NTF_EXT_MANAGED)
        for index, address in self._managed - wanted:
            with contextlib.suppress(NetlinkError):
                await self._ipr.neigh("delete", dst=str(address), ifindex=index)
        self._managed = wanted

    def _take_neighbour(self, message: Any) -> bool:
        """Note a neighbour's state; tell whether that is news."""
        text = message.get("dst")
        if text is None:
            return False
        mac = bytes.fromhex((message.get("lladdr") or "").replace(":", ""))
        gone = message["header"]["type"] == 29  # RTM_DELNEIGH
        news = (0, b"") if gone else (message["state"], mac)
        following = (message["ifindex"], ip_address(text))
        if self._neighbours.get(following) == news:
            return False
        self._neighbours[following] = news
        return True


# --- probes' way out ----------------------------------------------------------------------------------------


async def find_vip_routes(vips: Iterable[Address], mark: int) -> list[VipRoute]:
    """Return how the kernel sends to each VIP what has this mark, and where answers may come in."""
    async with AsyncIPRoute() as ipr:
        nics = {nic.index: nic for nic in [nic_from(link) async for link in await ipr.link("dump")]}
        holders = {
            ip_address(message.get("address")): nics[message["index"]]
            async for message in await ipr.addr("dump")
            if message["index"] in nics and message.get("address")
        }
        return [await _vip_route(ipr, vip, mark, nics, holders) for vip in vips]


async def _vip_route(
    ipr: Any, vip: Address, mark: int, nics: Mapping[int, Nic], holders: Mapping[Address, Nic]
) -> VipRoute:
    try:
        route = (await ipr.route("get", dst=str(vip), mark=mark))[0]
        match = (await ipr.route("get", dst=str(vip), mark=mark, flags=_RTM_F_FIB_MATCH))[0]
    except NetlinkError as error:
        return VipRoute(vip, refused=f"no route ({os.strerror(error.code).lower()})")
    if route["type"] != _RTN_UNICAST:
        holder, local = holders.get(vip), route["type"] == _RTN_LOCAL
        refused = "" if local else "its route drops"
        return VipRoute(vip, refused=refused, local=local, holder=holder.name if holder else "")
    hops = match.get("multipath") or []
    leaves = {hop["oif"] for hop in hops} | {route.get("oif")}
    source = ip_address(route.get("prefsrc")) if route.get("prefsrc") else None
    direct = not (hops or route.get("gateway") or route.get("via"))
    asks = direct and all(nics[index].ethernet for index in leaves if index in nics)
    return VipRoute(
        vip,
        tuple(_port(nics[index]) for index in sorted(leaves) if index in nics),
        tuple(_port(nic) for nic in _arrivals(source, nics, holders)),
        source,
        asks=asks and not await _answers(ipr, vip, route.get("oif")),
    )


async def _answers(ipr: Any, address: Address, index: int) -> bool:
    """Whether somebody on an interface's link is known to have this address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    async for message in await ipr.neigh("dump", family=family, ifindex=index):
        if message.get("dst") == str(address):
            return bool(message["state"] & _NUD_USABLE)
    return False


def _arrivals(source: Address | None, nics: Mapping[int, Nic], holders: Mapping[Address, Nic]) -> list[Nic]:
    """Return by which interfaces answers may come: the source's own one; any, when that is the loopback interface."""
    holder = holders.get(source) if source else None
    if holder and holder.ethernet:
        return [holder]
    return [nic for nic in nics.values() if nic.up and nic.carrier and nic.ethernet]


def _port(nic: Nic) -> Port:
    filters = (_rp_filter("all"), _rp_filter(nic.name))  # the kernel takes the larger one
    return Port(nic.index, nic.name, nic.ethernet, nic.parent, max(filters))


def _rp_filter(name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/ipv4/conf", name, "rp_filter").read_text())
    return 0


@dataclass(frozen=True, slots=True)
class Filter:
    """Our tc filter on an interface's way out, by which it is told from others'. Unmarked packets go on to those."""

    name: str
    handle: int
    priority: int = 7  # early: a filter in front that has the last word would hide probes from us


async def put_filter(index: int, program_fd: int, ours: Filter) -> bool:
    """Attach a tc program, or replace ours atomically; tell whether the interface had no place for filters before.

    Raises KernelError.
    """
    name = _name_of(index) or f"interface number {index}"
    async with AsyncIPRoute() as ipr:
        found = [f for f in await _filters(ipr, index) if _same_place(f, ours)]
        if any(_filter_name(f) != ours.name for f in found):
            raise KernelError(
                f"{name}: another filter is in the place of the probes'; run `tc filter del dev {name} egress "
                f"pref {ours.priority} handle {ours.handle:#x} bpf` if it is nobody's"
            )
        try:
            made = await _make_clsact(ipr, index, name)
            where = {"parent": _TC_EGRESS, "prio": ours.priority}
            await ipr.tc(
                "replace-filter", "bpf", index, ours.handle, fd=program_fd, name=ours.name, direct_action=True, **where
            )
        except NetlinkError as error:
            raise KernelError(
                f"{name}: the tc program for probes cannot be attached ({os.strerror(error.code).lower()}); it needs "
                "CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF in the kernel: route the VIPs by another interface"
            ) from None
    return made


async def _make_clsact(ipr: Any, index: int, name: str) -> bool:
    there = [q.get("kind") async for q in await ipr.tc("dump") if (q["index"], q["parent"]) == (index, TC_H_CLSACT)]
    if "ingress" in there:  # it would take a filter for the way out, and run it on the way in
        raise KernelError(
            f"{name} has an `ingress` qdisc, which has no place for the probes' filter; take clsact, which does the "
            f"same and more, and then add its filters again: `tc qdisc del dev {name} ingress; tc qdisc add dev {name} "
            "clsact`"
        )
    if not there:
        await ipr.tc("add", "clsact", index)
    return not there


async def find_filters(name: str) -> dict[int, Filter]:
    """Return our filters, by the number of their interface in this namespace."""
    found = {}
    async with AsyncIPRoute() as ipr:
        having = [q["index"] async for q in await ipr.tc("dump") if q.get("kind") == "clsact"]
        for index in having:
            for message in await _filters(ipr, index):
                if _filter_name(message) == name:
                    found[index] = Filter(name, message["handle"], message["info"] >> 16)
    return found


async def remove_filter(index: int, ours: Filter, with_clsact: bool) -> None:
    """Detach our tc program; `with_clsact`: the place for filters, too, when nobody else uses it."""
    async with AsyncIPRoute() as ipr:
        with contextlib.suppress(NetlinkError):  # it has gone, or its interface has
            await ipr.tc("del-filter", "bpf", index, ours.handle, parent=_TC_EGRESS, prio=ours.priority)
        with contextlib.suppress(NetlinkError):
            if with_clsact and not await _filters(ipr, index) and not await _filters(ipr, index, _TC_INGRESS):
                await ipr.tc("del", "clsact", index)


async def _filters(ipr: Any, index: int, parent: int = _TC_EGRESS) -> list[Any]:
    with contextlib.suppress(NetlinkError):  # no place for filters
        found = [message async for message in await ipr.get_filters(index=index, parent=parent)]
        return [message for message in found if message["handle"]]  # the others only say that there is a priority
    return []


def _same_place(message: Any, ours: Filter) -> bool:
    return (message["handle"], message["info"] >> 16) == (ours.handle, ours.priority)


def _filter_name(message: Any) -> str:
    options = message.get("options")
    return str(options.get_attr("TCA_BPF_NAME") or "") if message.get("kind") == "bpf" and options else ""
