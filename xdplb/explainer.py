"""Explains packets by the program that is loaded: opens its pins, runs its shadow, has `explain` tell what came of it.

It needs no daemon, since program and tables outlive that; who has one hands in what only it knows (`Names`). It changes
nothing. The shadow is kept for who asks again, until `close`.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from xdplb.contract import CONSTANTS
from xdplb.dataplane import loader, syscall
from xdplb.dataplane.instructions import Code, read_code
from xdplb.dataplane.kernel import Kernel, request_for
from xdplb.dataplane.plane import Spec, spec_from
from xdplb.dataplane.shadow import Shadow
from xdplb.errors import ConfigError, KernelError
from xdplb.explain.places import Places
from xdplb.explain.story import Arrival, tell
from xdplb.explain.world import Names, World

SIOCGIFFLAGS, SIOCGIFHWADDR, IFF_UP, IFF_RUNNING = 0x8913, 0x8927, 0x1, 0x40  # include/uapi/linux/sockios.h, if.h
LOOPBACK = "lo"


class Explainer:
    """One balancer's. It may be asked by several threads."""

    def __init__(self, place: loader.Place) -> None:
        self._place = place
        self._shadow: Shadow | None = None
        self._lock = threading.Lock()

    def explain(
        self, frames: Sequence[bytes], interface: str | None = None, names: Names | None = None
    ) -> list[dict[str, Any]]:
        """Return the explanation of each frame, all of them met by the same state. Raises ConfigError, KernelError."""
        with self._lock:
            try:
                return self._explain(frames, interface, names or Names())
            except FileNotFoundError:  # a daemon has swapped the program meanwhile
                return self._explain(frames, interface, names or Names())

    def _explain(self, frames: Sequence[bytes], interface: str | None, names: Names) -> list[dict[str, Any]]:
        spec, pinned = find_loaded(self._place)
        arrival = find_arrival(self._place, pinned, interface)
        shadow = self._shadow_of(spec, pinned)
        kernel = Kernel(spec, pinned)
        try:
            return list(explain_frames(kernel, shadow, frames, arrival, names))
        finally:
            kernel.close()

    def _shadow_of(self, spec: Spec, pinned: loader.Pinned) -> Shadow:
        if self._shadow and self._shadow.pinned != pinned:
            self._shadow.close()
            self._shadow = None
        if self._shadow is None:
            self._shadow = Shadow(pinned, read_or_compile(self._place, spec, pinned))
        return self._shadow

    def close(self) -> None:
        """Give the shadow back; the next one who asks waits for the verifier again."""
        with self._lock:
            if self._shadow:
                self._shadow.close()
                self._shadow = None


def explain_frames(
    kernel: Kernel, shadow: Shadow, frames: Sequence[bytes], arrival: Arrival, names: Names
) -> Iterator[dict[str, Any]]:
    """Yield the explanation of each frame, by tables as they are now."""
    shadow.follow()
    tables, interfaces = kernel.tables(), dict(socket.if_nameindex())
    places = Places(kernel.spec, tables)
    for frame in frames:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> CONSTANTS["TIME_SHIFT"]
        world = World(kernel.spec, tables, kernel.flows, shadow.fragments, names, interfaces, now)
        yield tell(world, places, frame, arrival, shadow.run(frame, arrival.index))


# --- what is loaded ------------------------------------------------------------------------------------------


def find_loaded(place: loader.Place) -> tuple[Spec, loader.Pinned]:
    """Return the program that a balancer has loaded, and what it was compiled with. Raises KernelError."""
    try:
        current = json.loads((place.run / "spec.json").read_text())
        spec, layout = spec_from(current["spec"]), current["layout"]
    except FileNotFoundError:
        raise KernelError(f"no program of {place.name!r} is loaded; start it with `xdplb run CONFIG`") from None
    except PermissionError:
        raise KernelError(f"no permission for {place.run}; run this as root") from None
    except (ValueError, KeyError, TypeError) as error:
        what = f"what is loaded was loaded by another version of xdplb ({error})"
        raise KernelError(f"{what}; start the daemon of this version first") from None
    pinned = loader.find(place, layout)
    if pinned is None:
        raise KernelError("the tables are of another version of xdplb; start the daemon of this version first")
    program = pinned.folder / f"program_{request_for(spec).code}"
    if not program.exists():
        others = sorted(pinned.folder.glob("program_*"))
        if len(others) != 1:
            raise KernelError(f"{pinned.folder} does not say which program is loaded; restart the daemon")
        program = others[0]
    return spec, loader.Pinned(pinned.folder, program, pinned.maps, adopted=True)


def read_or_compile(place: loader.Place, spec: Spec, pinned: loader.Pinned) -> Code:
    """Return a program's instructions, compiled once more when they were not kept. Raises KernelError."""
    file = loader.code_file(place, pinned.program)
    if not file.exists():
        request = request_for(spec)
        if pinned.program.name != f"program_{request.code}":
            what = f"{file} is missing, and the program was loaded by another version of xdplb"
            raise KernelError(f"{what}; restart the daemon, which loads this version's")
        loader.write_code(place, request, pinned)
    return read_code(file)


# --- where it comes in ---------------------------------------------------------------------------------------


def find_arrival(place: loader.Place, pinned: loader.Pinned, interface: str | None) -> Arrival:
    """Return by which interface a packet comes in, and why it would not come here at all. Raises ConfigError."""
    names, links = dict(socket.if_nameindex()), _links(place)
    attached = {names[index]: program for index, program in links.items() if index in names}
    name = interface or next(iter(attached), LOOPBACK)
    index = next((index for index, other in names.items() if other == name), 0)
    if not index:
        there = ", ".join(attached) or "no interface"
        raise ConfigError("in", f"there is no interface {name!r}", f"the program is attached to {there}")
    return Arrival(index, name, tuple(_warnings(name, attached, _program_id(pinned))), _mac(name))


def _links(place: loader.Place) -> dict[int, int]:
    """Return the program's number by interface, of those that ours is attached to."""
    found = {}
    for path in sorted(place.pins.glob("link_*")):
        fd = syscall.get(path)
        link = syscall.link(fd)
        os.close(fd)
        found[link.ifindex] = link.program_id
    return found


def _program_id(pinned: loader.Pinned) -> int:
    fd = syscall.get(pinned.program)
    try:
        return syscall.program(fd).id
    finally:
        os.close(fd)


def _warnings(name: str, attached: dict[str, int], program: int) -> Iterator[str]:
    if name not in attached:
        where = f"it is on {', '.join(attached)}" if attached else "it is on none; start the daemon"
        yield f"the program is not attached to {name}; {where}"
    elif attached[name] != program:
        yield f"another program of xdplb, number {attached[name]}, is on {name}: one is being swapped in; try again"
    flags = int.from_bytes(_ask(name, SIOCGIFFLAGS)[:2], "little")
    if not flags & IFF_UP:
        yield f"{name} is down; run `ip link set {name} up`"
    elif not flags & IFF_RUNNING:
        yield f"{name} has no carrier; look at its cable and at the other end"


def _mac(name: str) -> bytes:
    return _ask(name, SIOCGIFHWADDR)[2:8]  # behind the address family


def _ask(name: str, what: int) -> bytes:
    """Return what an interface says (netdevice(7)). By ioctl: unlike /sys, that follows the thread's namespace."""
    request = array.array("B", name.encode().ljust(40, b"\0"))
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as any_socket:
        fcntl.ioctl(any_socket, what, request)
    return request[16:].tobytes()
