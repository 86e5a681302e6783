"""The data plane in the kernel: tables mapped into this process, counters by bpf(2). No BCC in here.

A row is written by one 64-byte copy into the mapped table, a slot by one aligned 8-byte store. A packet that reads a
row at the same time may see half of it, so `reconcile` writes rows before anything points at them; a row in use changes
only when its next hop's address did, and then the old one was worth nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any

from xdplb.dataplane import layout, syscall
from xdplb.dataplane.loader import Pinned, Place, Request, obtain
from xdplb.dataplane.plane import Spec
from xdplb.hashing import mapped, port_and_protocol
from xdplb.model import Address, Protocol, Vip
from xdplb.tables import (
    BackendRow,
    Change,
    ClearBackend,
    ClearService,
    PutBackend,
    PutService,
    PutSlots,
    ServiceRow,
    Tables,
    Traffic,
)

_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}


def request_for(spec: Spec) -> Request:
    """Return the order for a balancer's program."""
    return Request("balancer.c", "balancer", ("maps.h", "find_service.h"), spec.sizes(), spec.defines())


class Kernel:
    """One program with its maps. Attaching it is the loader's work."""

    def __init__(self, place: Place, spec: Spec) -> None:
        """Adopt or load. Raises KernelError."""
        self.spec = spec
        self.pinned: Pinned = obtain(place, request_for(spec))
        self._cpus = syscall.possible_cpus()
        self._fds = {name: syscall.get(self.pinned.folder / name) for name in self.pinned.maps}
        self._leaf = {name: layout.build(m["value"]) for name, m in self.pinned.maps.items()}
        self._mapped = {name: self._map(name) for name in ("services", "slots", "backends")}
        self._services: Any = self._rows("services")
        self._backends: Any = self._rows("backends")
        self._slots = memoryview(self._mapped["slots"]).cast("Q")

    def _map(self, name: str) -> mmap.mmap:
        size = ctypes.sizeof(self._leaf[name]) * self.pinned.maps[name]["entries"]
        return mmap.mmap(self._fds[name], -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)

    def _rows(self, name: str) -> Any:
        return (self._leaf[name] * self.pinned.maps[name]["entries"]).from_buffer(self._mapped[name])

    def close(self) -> None:
        """Give the descriptors back; the pins stay."""
        self._slots.release()
        del self._services, self._backends
        for view in self._mapped.values():
            view.close()
        for fd in self._fds.values():
            os.close(fd)

    @property
    def map_bytes(self) -> int:
        """Memory of all maps, as if every entry took what it holds (a page or two less than the truth)."""
        total = 0
        for name, described in self.pinned.maps.items():
            value = -(-ctypes.sizeof(self._leaf[name]) // 8) * 8
            total += value * described["entries"] * (self._cpus if described["per_cpu"] else 1)
        return total

    # --- tables ---------------------------------------------------------------------------------------------

    def tables(self) -> Tables:
        """Return the rows in use, and a live view of the slots."""
        services = {n: _read_service(row) for n, row in enumerate(self._services) if row.port_and_protocol}
        backends = {n: _read_backend(row) for n, row in enumerate(self._backends) if row.identity}
        return Tables(services, backends, self._slots)

    def apply(self, changes: Sequence[Change]) -> int:
        """Make the changes in their order; return how many map entries were written."""
        return sum(self._apply(change) for change in changes)

    def _apply(self, change: Change) -> int:
        match change:
            case PutBackend(index, row, fresh):
                if fresh:
                    self._zero("traffic", index)
                self._backends[index] = self._backend_leaf(row)
            case PutSlots(_, entries):
                slots = self._slots
                for slot, word in entries.items():
                    slots[slot] = word
                return len(entries)
            case PutService(number, row):
                # This word 0 first: nobody may match a row that is half the old VIP and half the new one.
                self._services[number].port_and_protocol = 0
                self._services[number] = self._service_leaf(row)
                self._services[number].port_and_protocol = port_and_protocol(row.vip)
            case ClearService(number):
                self._services[number].port_and_protocol = 0
            case ClearBackend(index):
                # The rest stays: a packet that read its slot a moment ago still finds its way.
                self._backends[index].up = 0
                self._backends[index].identity = 0
        return 1

    def _service_leaf(self, row: ServiceRow) -> Any:
        leaf = self._leaf["services"]()
        _write_address(leaf.vip, row.vip.address)
        leaf.ring_offset, leaf.ring_size, leaf.identity = row.ring_offset, row.ring_size, row.identity
        return leaf

    def _backend_leaf(self, row: BackendRow) -> Any:
        leaf = self._leaf["backends"]()
        leaf.ethernet[:] = row.ethernet
        _write_address(leaf.source, row.source)
        _write_address(leaf.address, row.address)
        leaf.outer, leaf.up, leaf.checksum = row.outer, row.up, row.checksum
        leaf.egress, leaf.identity = row.egress, row.identity
        return leaf

    # --- counters -------------------------------------------------------------------------------------------

    def traffic(self) -> dict[int, Traffic]:
        """Return what was sent to each backend, by identity, summed over the CPUs."""
        in_use = [(n, row.identity) for n, row in enumerate(self._backends) if row.identity]
        if not in_use:
            return {}
        words = self._per_cpu_words("traffic", in_use[-1][0] + 1)
        width = ctypes.sizeof(self._leaf["traffic"]) // 8
        stride = width * self._cpus
        return {
            identity: Traffic(*(sum(words[n * stride + f : (n + 1) * stride : width]) for f in range(width)))
            for n, identity in in_use
        }

    def verdicts(self) -> dict[str, int]:
        """Return every reason of `struct verdicts` by its C name, summed over the CPUs."""
        words = self._per_cpu_words("verdicts", 1)
        names = [name for name, _ in self._leaf["verdicts"]._fields_]
        return {name: sum(words[i :: len(names)]) for i, name in enumerate(names)}

    def _per_cpu_words(self, name: str, entries: int) -> memoryview:
        size = ctypes.sizeof(self._leaf[name]) * self._cpus
        return memoryview(syscall.lookup_array(self._fds[name], entries, size)).cast("Q")

    def zero_verdicts(self) -> None:
        """Begin counting reasons at 0."""
        self._zero("verdicts", 0)

    def _zero(self, name: str, index: int) -> None:
        zeros = bytes(ctypes.sizeof(self._leaf[name]) * self._cpus)
        syscall.update(self._fds[name], index.to_bytes(4, "little"), zeros)


def _write_address(leaf: Any, address: Address) -> None:
    packed = mapped(address)
    leaf.high, leaf.low = int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")


@lru_cache(maxsize=65536)
def _read_address(high: int, low: int) -> Address:
    address = IPv6Address(high.to_bytes(8, "little") + low.to_bytes(8, "little"))
    return address.ipv4_mapped or address


def _read_service(row: Any) -> ServiceRow:
    port = int.from_bytes((row.port_and_protocol & 0xFFFF).to_bytes(2, "little"), "big")
    vip = Vip(_read_address(row.vip.high, row.vip.low), port, _PROTOCOLS[row.port_and_protocol >> 16])
    return ServiceRow(vip, row.ring_offset, row.ring_size, row.identity)


def _read_backend(row: Any) -> BackendRow:
    source, address = (
        _read_address(row.source.high, row.source.low),
        _read_address(row.address.high, row.address.low),
    )
    return BackendRow(bytes(row.ethernet), source, address, row.egress, row.identity, bool(row.up))
