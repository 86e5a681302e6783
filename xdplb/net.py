"""The one pyroute2: the NIC, and the way to each backend, kept fresh by netlink events.

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
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from xdplb.desired import Hop
from xdplb.errors import KernelError, RefusedError
from xdplb.model import Address

log = logging.getLogger("xdplb")

# include/uapi/linux/rtnetlink.h and neighbour.h
_GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400  # links, neighbours, addresses and routes of both families
_RTN_UNICAST = 1
_NUD_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # reachable, stale, delay, probe, noarp, permanent
_NUD_INCOMPLETE = 0x01
_NUD_FIXED = 0x40 | 0x80  # noarp, permanent
_NTF_EXT_MANAGED = 1
_XDP_MODES = {"xdp": "native", "xdpgeneric": "generic", "xdpoffload": "offload"}  # as pyroute2 calls them

SETTLE_S = 0.02  # netlink events come in bursts: look once at the end of one


@dataclass(frozen=True, slots=True)
class Nic:
    """What the kernel says of an interface. `xdp_mode` and `program_id` None: no XDP program is attached."""

    name: str
    index: int
    mac: bytes
    mtu: int
    driver: str
    up: bool
    xdp_mode: str | None
    program_id: int | None
    rx_packets: int


def nic_from(link: Any) -> Nic:
    """Read a link message."""
    xdp = link.get("xdp")
    mode = xdp.get_attr("IFLA_XDP_ATTACHED") if xdp else None
    info = link.get("linkinfo")
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
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
    """Where the kernel would send: next hop on an interface, from a source."""

    oif: int
    next_hop: Address
    source: Address


class Network:
    """The ways to a changing set of backends, seen from one interface."""

    def __init__(
        self,
        interface: str,
        source4: IPv4Address | None,
        source6: IPv6Address | None,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called, in the event loop, after `hops` or `nic` has changed."""
        self.index = interface_index(interface)
        self.interface = interface
        self.hops: dict[Address, Hop | str] = {}
        self.nic: Nic | None = None
        self._sources = {4: source4, 6: source6}
        self._changed = changed
        self._routes: dict[Address, _Route | str] = {}
        self._neighbours: dict[Address, tuple[int, bytes]] = {}  # state, MAC
        self._managed: set[Address] = set()
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
        self.nic = await _read_nic(self._ipr, self.index)
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
            log.critical("the network is not watched any more", exc_info=error)

    async def find(self, addresses: Iterable[Address]) -> None:
        """Make `hops` hold the way to exactly these addresses; neighbours may still be resolving afterwards."""
        async with self._lock:
            wanted = set(addresses)
            for address in set(self._routes) - wanted:
                del self._routes[address]
            for address in wanted - set(self._routes):
                self._routes[address] = await self._find_route(address)
            await self._manage_neighbours()
        self._publish()

    async def wait_resolved(self, timeout_s: float) -> None:
        """Return when no neighbour is resolving any more, or after the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(self._resolving(route) for route in self._routes.values()):
                    await asyncio.sleep(0.005)

    async def _watch(self) -> None:
        """Follow netlink events for ever."""
        while True:
            try:
                async for message in self._events.get():
                    self._take_event(message)
            except OSError as error:  # the kernel had more events than room: look at everything anew
                log.warning("netlink events were lost (%s)", error)
                await self._read_neighbours()
                self._look_soon(routes=True)

    def _take_event(self, message: Any) -> None:
        kind = message.get("event", "")
        if kind not in ("RTM_NEWNEIGH", "RTM_DELNEIGH"):
            self._look_soon(routes=True)
        elif self._take_neighbour(message):
            address = ip_address(message.get("dst"))
            deleted = kind == "RTM_DELNEIGH" and address in self._managed
            if deleted:  # somebody else's doing: have it managed anew
                self._managed.discard(address)
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
            if routes:
                began = time.monotonic()
                try:
                    self.nic = await _read_nic(self._ipr, self.index)
                except KernelError:
                    self.nic = None
                for address in list(self._routes):
                    self._routes[address] = await self._find_route(address)
                await self._manage_neighbours()
                self._took_s = time.monotonic() - began
        self._publish()

    async def _read_neighbours(self) -> None:
        for family in (socket.AF_INET, socket.AF_INET6):
            async for message in await self._ipr.neigh("dump", family=family, ifindex=self.index):
                self._take_neighbour(message)

    def _publish(self) -> None:
        hops = {address: self._hop(route) for address, route in self._routes.items()}
        if hops != self.hops:
            self.hops = hops
            self._changed()

    def _hop(self, route: _Route | str) -> Hop | str:
        if isinstance(route, str):
            return route
        state, mac = self._neighbours.get(route.next_hop, (0, b""))
        if self.nic is None or not self.nic.up:
            return f"{self.interface} is down or has vanished"
        if state & _NUD_USABLE and len(mac) == 6:
            return Hop(route.oif, self.nic.mac, mac, route.source)
        return f"neighbour {route.next_hop} on {self.interface} does not answer"

    def _resolving(self, route: _Route | str) -> bool:
        """Whether the kernel is still asking for the first time."""
        return isinstance(route, _Route) and not self._neighbours.get(route.next_hop, (0, b""))[0] & ~_NUD_INCOMPLETE

    async def _find_route(self, address: Address) -> _Route | str:
        try:
            route = (await self._ipr.route("get", dst=str(address)))[0]
        except NetlinkError as error:
            return f"no route to {address} ({os.strerror(error.code).lower()})"
        if route["type"] != _RTN_UNICAST:
            return f"{address} is an address of this box, or its route drops"
        oif = route.get("oif")
        if oif != self.index and self.interface == _name_of(oif):
            return f"{self.interface} was removed and made anew; restart the daemon"
        if oif != self.index:
            with contextlib.suppress(OSError):
                return f"the route to {address} leaves by {socket.if_indextoname(oif)}, not by {self.interface}"
            return f"the route to {address} does not leave by {self.interface}"
        via = route.get("via")  # an IPv6 next hop of an IPv4 route (RFC 5549)
        gateway, source = (
            route.get("gateway") or (via and via["addr"]),
            self._sources[address.version] or route.get("prefsrc"),
        )
        if not source:
            return f"the route to {address} names no source address; set balancer.source{address.version}"
        next_hop = ip_address(gateway) if gateway else address
        return _Route(oif, next_hop, ip_address(str(source)))

    async def _manage_neighbours(self) -> None:
        """Have the kernel resolve and keep every next hop that it does not keep already."""
        wanted = {route.next_hop for route in self._routes.values() if isinstance(route, _Route)}
        for next_hop in wanted - self._managed:
            if self._neighbours.get(next_hop, (0, b""))[0] & _NUD_FIXED:
                continue  # an entry of the operator's own
            with contextlib.suppress(NetlinkError):
                await self._ipr.neigh(
                    "replace", dst=str(next_hop), ifindex=self.index, state=0, flags_ext=_NTF_EXT_MANAGED
                )
        for next_hop in self._managed - wanted:
            with contextlib.suppress(NetlinkError):
                await self._ipr.neigh("delete", dst=str(next_hop), ifindex=self.index)
        self._managed = wanted

    def _take_neighbour(self, message: Any) -> bool:
        """Note a neighbour's state; tell whether that is news."""
        text = message.get("dst")
        if text is None or message["ifindex"] != self.index:
            return False
        mac = bytes.fromhex((message.get("lladdr") or "").replace(":", ""))
        gone = message["header"]["type"] == 29  # RTM_DELNEIGH
        news = (0, b"") if gone else (message["state"], mac)
        address = ip_address(text)
        if self._neighbours.get(address) == news:
            return False
        self._neighbours[address] = news
        return True
