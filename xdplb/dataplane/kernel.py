"""The data plane in the kernel: tables mapped into this process, counters by bpf(2). No BCC in here.

A row is written by one 64-byte copy into the mapped table, a slot by one aligned store. A packet that reads a
row at the same time may see half of it, so `reconcile` writes rows before anything points at them; a row in use changes
only when its next hop's address did, and then the old one was worth nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, overload

from xdplb.contract import CONSTANTS
from xdplb.dataplane import layout, syscall
from xdplb.dataplane.counters import read_counters
from xdplb.dataplane.loader import Pinned, Place, Request, obtain
from xdplb.dataplane.plane import Spec
from xdplb.dataplane.rows import backend_leaf, read_backend
from xdplb.hashing import mapped
from xdplb.model import Network
from xdplb.tables import (
    MOVED,
    MOVING,
    SETTLED,
    Capacity,
    Change,
    ClearBackend,
    ClearLimit,
    ClearNetwork,
    ClearService,
    LimitRow,
    PutBackend,
    PutLimit,
    PutNetwork,
    PutService,
    PutSlots,
    ServiceRow,
    Tables,
    Traffic,
    slot_parts,
    slot_word,
)

_BITS = {MOVING: CONSTANTS["SLOT_MOVING"], MOVED: CONSTANTS["SLOT_MOVED"], SETTLED: 0}
_SETTLED_BELOW = CONSTANTS["SLOT_MOVED"]
_PROGRESS = CONSTANTS["PROGRESS_WORDS"]
_NO_PROGRESS = memoryview(bytes(4 * _PROGRESS)).cast("I")


def request_for(spec: Spec) -> Request:
    """Return the order for a balancer's programs."""
    contract = ("maps.h", "rows.h")
    own = ("trace_filters", "trace_notes", "trace_ring") if spec.trace else ()
    return Request("balancer.c", "balancer", contract, spec.sizes(), spec.defines(), "unusual", spec.frags, own=own)


_MAPPED = (
    *("services", "ranges", "slots", "previous", "backends", "identities", "limits", "clients", "flows", "stamps"),
    *("progress", "moments"),
)


_SIZED_BY = {
    **dict.fromkeys(("services", "ranges"), "rows_bits"),
    **dict.fromkeys(("slots", "previous"), "slots"),
    **dict.fromkeys(("backends", "identities", "progress", "traffic"), "backends"),
    **{"limits": "limits", "clients": "clients", "flows": "flows", "prefix_spans": "spans"},
}


def _entries(name: str, room: Capacity) -> int:
    """Return to what a map's number of entries is proportional (bpf/maps.h)."""
    size: int = getattr(room, _SIZED_BY[name]) if name in _SIZED_BY else 1
    return 1 << size if name in ("services", "ranges") else size


class Kernel:
    """One program with its maps. Attaching it is the loader's work."""

    def __init__(self, spec: Spec, pinned: Pinned) -> None:
        """Take over what is loaded and pinned. Raises KernelError, KeyError when it is not shaped as this version's."""
        self.spec, self.pinned = spec, pinned
        self._cpus = syscall.possible_cpus()
        self._fds = {name: syscall.get(self.pinned.folder / name) for name in self.pinned.maps}
        self._leaf = {name: layout.build(m["value"]) for name, m in self.pinned.maps.items()}
        self._mapped = {name: self._map(name) for name in _MAPPED}
        self._services: Any = self._rows("services")
        self._ranges: Any = self._rows("ranges")
        self._backends: Any = self._rows("backends")
        self._limits: Any = self._rows("limits")
        self._identities = memoryview(self._mapped["identities"]).cast("Q")
        self._slots = Slots(*(memoryview(self._mapped[name]).cast("I") for name in ("slots", "previous")))
        self.flows = memoryview(self._mapped["flows"]).cast("Q")
        self._stamps = memoryview(self._mapped["stamps"]).cast("Q")
        self.progress = memoryview(self._mapped["progress"]).cast("I")
        self._moments = memoryview(self._mapped["moments"]).cast("Q")
        self._known = self._read()

    @classmethod
    def load(cls, place: Place, spec: Spec, old: Kernel | None = None) -> Kernel:
        """Adopt, or load a new one; its flows are remembered where the old one's are, if they can be.

        Raises KernelError.
        """
        lend = old.pinned.folder if old and old.spec.capacity.flows == spec.capacity.flows else None
        return cls(spec, obtain(place, request_for(spec), lend))

    def shares_flows(self, other: Kernel) -> bool:
        """Whether both remember flows in the same table."""
        return syscall.map_id(self._fds["flows"]) == syscall.map_id(other._fds["flows"])

    def _map(self, name: str) -> mmap.mmap:
        size = ctypes.sizeof(self._leaf[name]) * self.pinned.maps[name]["entries"]
        return mmap.mmap(self._fds[name], -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)

    def _rows(self, name: str) -> Any:
        return (self._leaf[name] * self.pinned.maps[name]["entries"]).from_buffer(self._mapped[name])

    def close(self) -> None:
        """Give the descriptors back; the pins stay."""
        self._slots.release()
        self._identities.release()
        self.flows.release()
        self._stamps.release()
        self.progress.release()
        self._moments.release()
        del self._services, self._ranges, self._backends, self._limits
        for view in self._mapped.values():
            view.close()
        for fd in self._fds.values():
            os.close(fd)

    @property
    def map_bytes(self) -> int:
        """Memory of all maps, as if every entry took what it holds (a page or two less than the truth)."""
        return self.bytes_with(self.spec)

    def bytes_with(self, spec: Spec) -> int:
        """Return what the maps would take with the room of another spec."""
        total = 0
        for name, described in self.pinned.maps.items():
            value = -(-ctypes.sizeof(self._leaf[name]) // 8) * 8
            have, room = (_entries(name, its.capacity) for its in (self.spec, spec))
            total += value * described["entries"] * room // have * (self._cpus if described["per_cpu"] else 1)
        return total

    # --- tables ---------------------------------------------------------------------------------------------

    def tables(self) -> Tables:
        """Return the rows in use, and a live view of the slots."""
        known = self._known
        return Tables(dict(known.services), dict(known.backends), self._slots, dict(known.limits), dict(known.networks))

    def _read(self) -> Tables:
        """Read all rows once: from then on nobody but us writes them."""
        return Tables(
            {n: self._read_service(n, row) for n, row in enumerate(self._services) if row.port_and_protocol},
            {n: read_backend(self._backends[n], name) for n, name in enumerate(self._identities) if name},
            self._slots,
            {n: _read_limit(row) for n, row in enumerate(self._limits) if row.identity},
            self._read_networks(),
        )

    def apply(self, changes: Sequence[Change]) -> int:
        """Make the changes in their order; return how many map entries were written."""
        return sum(self._apply(change) for change in changes)

    def _apply(self, change: Change) -> int:
        known = self._known
        match change:
            case PutBackend(index, row, fresh):
                if fresh:
                    self._zero("traffic", index)
                    self.progress[_PROGRESS * index : _PROGRESS * (index + 1)] = _NO_PROGRESS
                self._backends[index] = backend_leaf(self._leaf["backends"], row)
                self._identities[index] = row.identity
                known.backends[index] = row
            case PutSlots(_, entries):
                self._slots.put(entries)
                return len(entries)
            case PutLimit(index, row):
                self._put_limit(index, row)
                known.limits[index] = row
            case PutService(number, row):
                self._put_service(number, row)
                known.services[number] = row
            case PutNetwork(network, word):
                syscall.update(self._fds["networks"], _prefix_key(network), word.to_bytes(8, "little"))
                known.networks[network] = word
            case ClearNetwork(network):
                syscall.delete(self._fds["networks"], _prefix_key(network))
                del known.networks[network]
            case ClearService(number):
                self._services[number].port_and_protocol = 0
                del known.services[number]
            case ClearLimit(index):
                self._limits[index].identity = 0
                del known.limits[index]
            case ClearBackend(index):
                # The rest stays: a packet that read its slot a moment ago still finds its way.
                self._backends[index].up = 0
                self._identities[index] = 0
                del known.backends[index]
        return 1

    def _put_service(self, number: int, row: ServiceRow) -> None:
        high, low, word = row.key
        leaf = self._leaf["services"]()
        leaf.vip.high, leaf.vip.low = high, low
        leaf.ring_offset, leaf.ring_size, leaf.identity = row.ring_offset, row.ring_size, row.identity
        leaf.mtu, leaf.limit = row.mtu, row.limit or 0
        leaf.client.high, leaf.client.low = row.client
        leaf.flags = CONSTANTS["SERVICE_CLIENT"] if any(row.client) else 0
        leaf.flags |= CONSTANTS["SERVICE_LIMITED"] if row.limit is not None else 0
        leaf.flags |= CONSTANTS["SERVICE_SECOND_CHANCE"] if row.second_chance else 0
        leaf.flags |= CONSTANTS["SERVICE_PASSIVE"] if row.passive else 0
        have = self._services[number]
        if have.port_and_protocol == word and (have.vip.high, have.vip.low) == (high, low):
            leaf.port_and_protocol = word  # the same key with other contents: it may be found all the time
            self._put_ranges(number, row)
            self._services[number] = leaf
            return
        # This word 0 first: nobody may match a row that is half the old VIP and half the new one.
        have.port_and_protocol = 0
        self._put_ranges(number, row)
        self._services[number] = leaf
        self._services[number].port_and_protocol = word

    def _put_ranges(self, number: int, row: ServiceRow) -> None:
        words = [first | last << 16 for first, last in row.ranges]
        self._ranges[number].ports[:] = words + [0] * (CONSTANTS["RANGES"] - len(words))

    def _put_limit(self, index: int, row: LimitRow) -> None:
        leaf = self._limits[index]  # field by field: the program keeps its own account in it
        leaf.packet_cost, leaf.packet_burst = row.packet
        leaf.connection_cost, leaf.connection_burst = row.connection
        leaf.service_cost, leaf.service_burst = row.service
        leaf.client4, (leaf.client6.high, leaf.client6.low) = row.client4, row.client6
        leaf.flags = CONSTANTS["LIMIT_COUNT_ONLY"] if row.count_only else 0
        if leaf.identity != row.identity:
            leaf.service_time = 0
        leaf.identity = row.identity

    def _read_service(self, number: int, row: Any) -> ServiceRow:
        words = (word for word in self._ranges[number].ports if word)
        return ServiceRow(
            (row.vip.high, row.vip.low, row.port_and_protocol),
            row.ring_offset,
            row.ring_size,
            row.identity,
            row.mtu,
            (row.client.high, row.client.low),
            row.limit if row.flags & CONSTANTS["SERVICE_LIMITED"] else None,
            bool(row.flags & CONSTANTS["SERVICE_SECOND_CHANCE"]),
            bool(row.flags & CONSTANTS["SERVICE_PASSIVE"]),
            tuple((word & 0xFFFF, word >> 16) for word in words),
        )

    def _read_networks(self) -> dict[Network, int]:
        fd = self._fds["networks"]
        return {
            _prefix_network(key): int.from_bytes(syscall.lookup(fd, key, 8), "little") for key in syscall.keys(fd, 20)
        }

    def words(self, name: str) -> memoryview:
        """Return an array of words, which stays mapped as long as somebody holds it, also after `close`."""
        entries = self.pinned.maps[name]["entries"]
        return memoryview(self._map(name)).cast("Q")[:entries]

    def put_devices(self, indexes: Sequence[int]) -> None:
        """Say which interfaces the numbers in backends' rows are; 0: none, it has vanished."""
        for number, index in enumerate(indexes):
            if index:
                syscall.update(self._fds["devices"], number.to_bytes(4, "little"), index.to_bytes(4, "little"))

    # --- counters -------------------------------------------------------------------------------------------

    def traffic(self) -> dict[int, Traffic]:
        """Return what was sent to each backend, by identity, summed over the CPUs."""
        in_use = [(index, row.identity) for index, row in self._known.backends.items()]
        if not in_use:
            return {}
        words = self._per_cpu_words("traffic", max(self._known.backends) + 1).tolist()
        width = ctypes.sizeof(self._leaf["traffic"]) // 8
        stride = width * self._cpus  # a column for each field and CPU: ten thousand backends in a few ms
        columns = [[words[at::stride] for at in range(f, stride, width)] for f in range(width)]
        sums = [list(map(sum, zip(*of_cpus, strict=True))) for of_cpus in columns]
        return {identity: Traffic(*(column[n] for column in sums)) for n, identity in in_use}

    def verdicts(self) -> dict[str, int]:
        """Return every reason of `struct verdicts` by its C name, summed over the CPUs."""
        return self._named("verdicts")

    def spared(self) -> dict[str, int]:
        """Return what limits and lists that only count would have dropped, by the names of `struct spared`."""
        return self._named("spared")

    def _named(self, table: str) -> dict[str, int]:
        return read_counters(self._fds[table], self._leaf[table])

    def _per_cpu_words(self, name: str, entries: int) -> memoryview:
        size = ctypes.sizeof(self._leaf[name]) * self._cpus
        return memoryview(syscall.lookup_array(self._fds[name], entries, size)).cast("Q")

    # --- flows ----------------------------------------------------------------------------------------------

    @property
    def stamp(self) -> int:
        """The time that flows are stamped with."""
        return int(self._stamps[0])

    @stamp.setter
    def stamp(self, word: int) -> None:
        self._stamps[0] = word

    @property
    def moment(self) -> int:
        """The time that attempts are stamped with."""
        return int(self._moments[0])

    @moment.setter
    def moment(self, number: int) -> None:
        self._moments[0] = number

    def zero_verdicts(self) -> None:
        """Begin counting reasons at 0."""
        self._zero("verdicts", 0)

    def _zero(self, name: str, index: int) -> None:
        zeros = bytes(ctypes.sizeof(self._leaf[name]) * self._cpus)
        syscall.update(self._fds[name], index.to_bytes(4, "little"), zeros)


class Slots(Sequence[int]):
    """The slots as words of both backends (`tables.slot_word`), a live view of the two arrays in the kernel."""

    def __init__(self, slots: memoryview, previous: memoryview) -> None:
        """Take over both, of 32-bit words."""
        self._slots, self._previous = slots, previous

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._slots)

    @overload
    def __getitem__(self, at: int) -> int: ...

    @overload
    def __getitem__(self, at: slice) -> list[int]: ...

    def __getitem__(self, at: int | slice) -> int | list[int]:
        """Return one word, or a list of them."""
        if isinstance(at, slice):
            found = self._slots[at].tolist()
            if not found or max(found) < _SETTLED_BELOW:
                return found
            pairs = zip(found, self._previous[at], strict=True)
            return [slot if slot < _SETTLED_BELOW else _word(slot, previous) for slot, previous in pairs]
        slot: int = self._slots[at]
        return slot if slot < _SETTLED_BELOW else _word(slot, self._previous[at])

    def put(self, entries: Mapping[int, int]) -> None:
        """Write words; a slot is not settled any more after it is said where it was before."""
        slots, before = self._slots, self._previous
        for at, word in entries.items():
            backend, previous, state = slot_parts(word)
            if state:
                before[at] = previous
            slots[at] = backend | _BITS[state]

    def release(self) -> None:
        """Give both arrays back."""
        self._slots.release()
        self._previous.release()


def _word(slot: int, previous: int) -> int:
    return slot_word(slot % _SETTLED_BELOW, previous, MOVING if slot >= _BITS[MOVING] else MOVED)


def _prefix_key(network: Network) -> bytes:
    """Return `struct prefix`."""
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return bits.to_bytes(4, "little") + mapped(network.network_address)


def _prefix_network(key: bytes) -> Network:
    bits, packed = int.from_bytes(key[:4], "little"), key[4:]
    if packed[:12] == bytes(10) + b"\xff\xff":
        return ip_network((IPv4Address(packed[12:]), bits - 96))
    return ip_network((IPv6Address(packed), bits))


def _read_limit(row: Any) -> LimitRow:
    return LimitRow(
        row.identity,
        (row.packet_cost, row.packet_burst),
        (row.connection_cost, row.connection_burst),
        (row.service_cost, row.service_burst),
        row.client4,
        (row.client6.high, row.client6.low),
        bool(row.flags & CONSTANTS["LIMIT_COUNT_ONLY"]),
    )
