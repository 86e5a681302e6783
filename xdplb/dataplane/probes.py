"""The rows of probes in the kernel: which backend a mark leads to. See bpf/probe.c; tables of their own, nobody else's.

A row keeps its number as long as it is wanted, also over a restart. A number that was given back rests before it is
another's: until then, packets of a probe that is still under way are dropped, and never go to the wrong backend.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xdplb.contract import CONSTANTS
from xdplb.dataplane import layout, loader, syscall
from xdplb.dataplane.counters import read_counters
from xdplb.dataplane.rows import backend_leaf, read_backend
from xdplb.errors import KernelError
from xdplb.hashing import identity
from xdplb.tables import BackendRow, Way

ROOM = CONSTANTS["PROBES"]
REST_S = 120.0  # longer than any probe takes


@dataclass(frozen=True, slots=True)
class Settings:
    """What of the balancer's outer headers is no row's: as in `plane.Spec`."""

    outer_df: bool = True
    source4_bits: int = 0
    source6_bits: int = 0


def balancer_byte(name: str) -> int:
    """Return the bits of a mark that tell the balancers of one host apart."""
    return identity("probes", name) & 0xFF


def first_mark(name: str) -> int:
    """Return the mark of a balancer's row 0."""
    return CONSTANTS["PROBE_MARK"] | balancer_byte(name) << CONSTANTS["PROBE_BALANCER_SHIFT"]


def request_for(name: str, settings: Settings) -> loader.Request:
    """Return the order for the program of a balancer."""
    defines = {
        "BALANCER": balancer_byte(name),
        "OUTER_DF": int(settings.outer_df),
        "SOURCE4_BITS": settings.source4_bits,
        "SOURCE6_BITS": settings.source6_bits,
    }
    return loader.Request("probe.c", "probe", ("probe_maps.h",), {}, defines, kind="tc")


class Probes:
    """The program for probes and its tables. Attaching it is `xdplb.tunnel`'s work."""

    def __init__(self, place: loader.Place, settings: Settings) -> None:
        """Adopt what is pinned, or load it. Raises KernelError."""
        self.pinned = loader.obtain(place.tunnel, request_for(place.name, settings))
        loader.forget_others(place.tunnel, self.pinned)
        self._first = first_mark(place.name)
        names = ("probes", "probe_identities", "probed")
        self._fds = {name: syscall.get(self.pinned.folder / name) for name in names}
        self._leaf = {name: layout.build(self.pinned.maps[name]["value"]) for name in names}
        self._mapped = [mmap.mmap(self._fds[name], ROOM * ctypes.sizeof(self._leaf[name])) for name in names[:2]]
        self._table: Any = (self._leaf["probes"] * ROOM).from_buffer(self._mapped[0])
        self._identities = memoryview(self._mapped[1]).cast("Q")
        self._indexes = {name: index for index, name in enumerate(self._identities.tolist()) if name}
        self._rows = {name: read_backend(self._table[index], name) for name, index in self._indexes.items()}
        taken = set(self._indexes.values())
        self._resting = deque((0.0, index) for index in range(ROOM) if index not in taken)  # free from then on

    def close(self) -> None:
        """Give the descriptors back; the pins stay."""
        self._identities.release()
        del self._table
        for view in self._mapped:
            view.close()
        for fd in self._fds.values():
            os.close(fd)

    def put(self, rows: Mapping[int, BackendRow], now: float | None = None) -> int:
        """Make the rows, by identity, exactly these; return how many were written. What is right is not written.

        A backend that is this host itself has no row: no packet for it leaves. Raises KernelError when there is no
        room, and then nothing has changed.
        """
        now = time.monotonic() if now is None else now
        wanted = {name: row for name, row in rows.items() if row.way is not Way.LOCAL}
        gone = [name for name in self._indexes if name not in wanted]
        changed = [(n, row) for n, row in wanted.items() if (old := self._rows.get(n)) is not row and old != row]
        self._check_room(sum(name not in self._indexes for name, _ in changed), now)
        for name in gone:
            self._clear(name, now)
        for name, row in changed:
            self._write(name, row)
        return len(gone) + len(changed)

    def mark(self, name: int) -> int | None:
        """Return the mark for the sockets of a backend's probes, by its identity; None when it has no row."""
        index = self._indexes.get(name)
        return None if index is None else self._first | index

    def counters(self) -> dict[str, int]:
        """Return what became of probes' packets, by the names of `struct probed`."""
        return read_counters(self._fds["probed"], self._leaf["probed"])

    def _check_room(self, wanted: int, now: float) -> None:
        if wanted and (len(self._resting) < wanted or self._resting[wanted - 1][0] > now):
            free = sum(since <= now for since, _ in self._resting)
            raise KernelError(
                f"probes through the tunnel have {ROOM:,} rows, and {free:,} are free for {wanted:,} more backends; "
                f'check fewer through it (`through = "direct"`), or change so many at once only every {REST_S:.0f} s'
            )

    def _write(self, name: int, row: BackendRow) -> None:
        index = self._indexes[name] if name in self._indexes else self._resting.popleft()[1]
        self._table[index] = backend_leaf(self._leaf["probes"], row)
        self._identities[index] = name  # last, and first to go: who has a name has a row, whenever we die
        self._indexes[name], self._rows[name] = index, row

    def _clear(self, name: int, now: float) -> None:
        index = self._indexes.pop(name)
        del self._rows[name]
        self._identities[index] = 0
        self._table[index].way = 0
        self._resting.append((now + REST_S, index))
