"""The agent on a backend: attach `bpf/decap.c`, so that packets reach the stack as the client sent them."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Sequence
from typing import Any

from xdplb.dataplane import layout, loader, syscall
from xdplb.errors import KernelError, RefusedError
from xdplb.hashing import mapped
from xdplb.model import Address
from xdplb.net import interface_index, read_nic


def place_for(name: str) -> loader.Place:
    """Return where the agent of this name keeps its pins."""
    return loader.Place(f"decap-{name}")


def request_for(sources: Sequence[Address]) -> loader.Request:
    """Return the order for the program; without sources it believes every outer header."""
    return loader.Request("decap.c", "decap", ("decap_maps.h",), {}, {"USE_SOURCES": int(bool(sources))})


async def attach(place: loader.Place, interface: str, sources: Sequence[Address], mode: str) -> loader.Attached:
    """Attach the program, or replace our own. Raises KernelError and RefusedError."""
    index = interface_index(interface)
    place.make()
    nic = await read_nic(index)
    if nic.program_id is not None and loader.attached(place, index) is None:
        name = syscall.program_by_id(nic.program_id).name
        raise RefusedError(
            f"{interface} has another XDP program: id {nic.program_id}, name {name!r}; take it off first "
            f"(`ip link set {interface} xdp off`)"
        )
    pinned = loader.obtain(place, request_for(sources))
    _believe(pinned, sources)
    attached = loader.attach(place, pinned, interface, index, mode)
    got = (await read_nic(index)).xdp_mode
    if got != mode:
        loader.detach(place)
        raise KernelError(f"{interface}: asked for XDP in {mode} mode and got {got}; nothing is attached")
    loader.detach_others(place, [index])
    loader.forget_others(place, pinned)
    return attached


def _believe(pinned: loader.Pinned, sources: Sequence[Address]) -> None:
    """Make the set of believed outer sources exactly this one."""
    fd = syscall.get(pinned.folder / "sources")
    try:
        wanted = {mapped(address) for address in sources}
        for key in wanted:
            syscall.update(fd, key, (1).to_bytes(4, "little"))
        for key in syscall.keys(fd, 16):
            if key not in wanted:
                syscall.delete(fd, key)
    finally:
        os.close(fd)


def read_counters(place: loader.Place) -> dict[str, int]:
    """Return the counters of `struct decapped`, summed over the CPUs. Raises KernelError when it is not attached."""
    request = request_for([])
    if not (place.pins / request.layout).is_dir():
        raise KernelError(f"no decap agent has been started here under {place.name.removeprefix('decap-')!r}")
    try:
        maps: dict[str, Any] = json.loads((place.run / f"layout_{request.layout}.json").read_text())
    except OSError as error:
        raise KernelError(f"{error.filename} is missing; run `xdplb decap run` again") from None
    leaf = layout.build(maps["decapped"]["value"])
    fd = syscall.get(place.pins / request.layout / "decapped")
    try:
        size = ctypes.sizeof(leaf) * syscall.possible_cpus()
        words = memoryview(syscall.lookup_array(fd, 1, size)).cast("Q")
    finally:
        os.close(fd)
    names = [name for name, _ in leaf._fields_]
    return {name: sum(words[i :: len(names)]) for i, name in enumerate(names)}
