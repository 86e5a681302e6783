"""Probes through the tunnel: a socket with a backend's mark reaches it as a client of the VIP would.

The socket connects to the VIP; bpf/probe.c, on the interfaces by which the kernel would send there, puts in front what
clients' packets get. It outlives the daemon without harm: nobody sends what has a mark then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from xdplb.contract import CONSTANTS
from xdplb.dataplane import loader, syscall
from xdplb.dataplane.probes import Probes, Settings, balancer_byte, first_mark
from xdplb.errors import KernelError
from xdplb.model import Address
from xdplb.net import Filter, find_filters, find_vip_routes, put_filter, remove_filter
from xdplb.tables import BackendRow
from xdplb.traps import find_traps

__all__ = ["Settings", "Tunnel", "detach"]


def filter_of(place: loader.Place) -> Filter:
    """Return what a balancer's filter is called."""
    return Filter(f"xdplb:{place.name}", CONSTANTS["PROBE_MARK"] >> 16 | balancer_byte(place.name))


class Tunnel:
    """The way of probes to a changing set of backends, by the VIPs that they ask. `warnings`: what is in their way."""

    def __init__(self, place: loader.Place, settings: Settings) -> None:
        """`place` is the balancer's own."""
        self.place, self.settings = place, settings
        self.warnings: list[str] = []
        self.trapped: set[Address] = set()  # VIPs that they say cannot be asked
        self._filter = filter_of(place)
        self._probes: Probes | None = None
        self._on: set[int] = set()  # interfaces that have our program
        self._uplink = 0  # in place of a row's 0, when there is one
        self._wanted: Mapping[int, BackendRow] | None = None  # as last put

    @property
    def probes(self) -> Probes:
        """The program and its tables, from `open` on."""
        assert self._probes is not None
        return self._probes

    async def open(self, vips: Iterable[Address]) -> None:
        """Adopt or load, attach where probes to these VIPs leave, and note what is in their way. Raises KernelError."""
        self.place.tunnel.make()
        self._probes = await asyncio.to_thread(Probes, self.place, self.settings)
        await self.follow(vips)

    def close(self) -> None:
        """Give the descriptors back; what is attached and pinned stays."""
        if self._probes:
            self._probes.close()
            self._probes = None
        self._on.clear()  # opened again, it may be another program
        self._wanted = None

    async def follow(self, vips: Iterable[Address]) -> None:
        """Ask the kernel anew by which interfaces it sends to these VIPs, and be there and nowhere else."""
        routes = await find_vip_routes(dict.fromkeys(vips), first_mark(self.place.name))
        ports = {port.index: port for route in routes for port in route.leaves if port.ethernet}
        self.warnings = find_traps(routes)
        self.trapped = {route.vip for route in routes if find_traps([route])}
        there = await find_filters(self._filter.name)
        for index in ports:
            if index not in there or index not in self._on:
                await self._attach(index)
        for index in there.keys() - ports.keys():
            await _remove(self.place, index, there[index])
        self._on &= ports.keys()
        bare = ports.keys() - self._on  # there, a probe would leave as it is
        self.trapped |= {route.vip for route in routes if any(port.index in bare for port in route.leaves)}
        self._lead_by(next((port.base for port in ports.values() if port.base), 0))

    async def intact(self) -> bool:
        """Whether our program is still wherever it was put."""
        return self._on <= (await find_filters(self._filter.name)).keys()

    async def _attach(self, index: int) -> None:
        self._on.discard(index)
        fd = syscall.get(self.probes.pinned.program)
        try:
            if await put_filter(index, fd, self._filter):
                _made(self.place, index).touch()
            self._on.add(index)
        except KernelError as error:
            self.warnings.append(str(error))
        finally:
            os.close(fd)

    def _lead_by(self, uplink: int) -> None:
        """Write rows that say "where it came in" (a bond's, perhaps with a tag) for the interface below a VLAN's.

        The probes come by the VLAN's interface, which would add its own tag.
        """
        if uplink != self._uplink:
            self._uplink = uplink
            if self._wanted is not None:
                self.put(self._wanted)

    def put(self, rows: Mapping[int, BackendRow]) -> int:
        """Make the backends, by identity, exactly these; return how many rows were written. Raises KernelError."""
        self._wanted = rows
        if self._uplink:
            rows = {name: row if row.egress else replace(row, egress=self._uplink) for name, row in rows.items()}
        return self.probes.put(rows)

    def mark(self, identity: int) -> int | None:
        """Return the mark for the socket of a probe; None: this backend cannot be reached through the tunnel."""
        return self.probes.mark(identity)

    def counters(self) -> dict[str, int]:
        """Return what became of probes' packets: `struct probed` in bpf/probe_maps.h."""
        return self.probes.counters()


async def detach(place: loader.Place) -> list[int]:
    """Take the program off every interface of this namespace, and remove its tables; return these interfaces."""
    found = await find_filters(filter_of(place).name)
    for index, ours in found.items():
        await _remove(place, index, ours)
    place.tunnel.remove()
    return sorted(found)


async def _remove(place: loader.Place, index: int, ours: Filter) -> None:
    await remove_filter(index, ours, with_clsact=_made(place, index).exists())
    _made(place, index).unlink(missing_ok=True)


def _made(place: loader.Place, index: int) -> Path:
    """The file that says: the place for filters on this interface is our doing."""
    return place.tunnel.run / f"clsact_{index}"
