"""The rows of the kernel's tables as plain values, and the changes that can be made to them.

What a row means stands in `bpf/maps.h`; how its bytes lie, only `dataplane` knows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from xdplb.hashing import Key
from xdplb.model import Address, Network

NO_BACKEND = 0  # an index that no backend has: the content of an empty slot
NO_MTU = 65535  # what fits wherever there is no limit


def power_of_two(number: int) -> int:
    """Return the least power of two that is not less."""
    return 1 << max(0, number - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much room the tables have. A row number has `rows_bits` bits; index 0 of `backends` is not used."""

    rows_bits: int = 12
    slots: int = 1 << 18
    backends: int = 1 << 12
    limits: int = 64
    flows: int = 1 << 14  # lines of 7 flows learned and 7 born
    clients: int = 8  # of 8 accounts each
    spans: int = 1 << 18  # words for the guard's lists

    def holds(self, other: Capacity) -> bool:
        """Whether there is at least as much room as in `other`."""
        return all(getattr(self, name) >= getattr(other, name) for name in self.__slots__)

    def union(self, other: Capacity) -> Capacity:
        """Return room for either."""
        return Capacity(*(max(getattr(self, name), getattr(other, name)) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A row of `services`, and of `ranges` beside it: `struct service`, `struct ranges`."""

    key: Key
    ring_offset: int = 0
    ring_size: int = 0
    identity: int = 0
    mtu: int = NO_MTU
    client: tuple[int, int] = (0, 0)  # mask; (0, 0): no affinity
    limit: int | None = None
    second_chance: bool = False
    passive: bool = False
    ranges: tuple[tuple[int, int], ...] = ()


class Way(StrEnum):
    """How packets get to a backend: `WAY_...`."""

    IPIP4 = "ipip4"
    IPIP6 = "ipip6"
    GUE4 = "gue4"
    GUE6 = "gue6"
    L2 = "l2"
    LOCAL = "local"

    @property
    def overhead(self) -> int:
        """Bytes in front of the inner packet."""
        return {"ipip4": 20, "ipip6": 40, "gue4": 32, "gue6": 52}.get(self.value, 0)


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One backend of one service: `struct backend`. `ethernet` is the whole header, 14 bytes."""

    ethernet: bytes
    source: Address
    address: Address
    egress: int
    identity: int
    up: bool = True
    way: Way = Way.IPIP4
    mtu: int = NO_MTU
    gue_port: int = 0
    vlan: int = 0
    device: int = 0

    @property
    def checksum(self) -> int:
        """The sum of an outer IPv4 header's constant words, as they lie in memory; 0 for IPv6 (RFC 1071)."""
        if self.address.version == 6 or self.source.version == 6:
            return 0
        constant = bytes.fromhex("4500 4000") + self.source.packed + self.address.packed
        return sum(int.from_bytes(constant[i : i + 2], "little") for i in range(0, 12, 2))


@dataclass(frozen=True, slots=True)
class LimitRow:
    """The limits of one service: `struct limit`. Costs in units of 64 ns; 0: no such limit."""

    identity: int
    packet: tuple[int, int] = (0, 0)  # cost, burst
    connection: tuple[int, int] = (0, 0)
    service: tuple[int, int] = (0, 0)
    client4: int = 0  # mask, as it lies in memory
    client6: tuple[int, int] = (0, 0)
    count_only: bool = False


@dataclass(slots=True)
class Tables:
    """What lies in the tables: rows in use by number, and every slot as one word (see `slot_word`)."""

    services: dict[int, ServiceRow] = field(default_factory=dict)
    backends: dict[int, BackendRow] = field(default_factory=dict)
    slots: Sequence[int] = ()
    limits: dict[int, LimitRow] = field(default_factory=dict)
    networks: dict[Network, int] = field(default_factory=dict)
    held: Collection[int] = ()  # indexes of `backends` that flows may still be remembered for: nobody may have them


@dataclass(frozen=True, slots=True)
class PutBackend:
    """Write a row that no slot names yet, or bring one up to date. `fresh`: its traffic starts at 0."""

    index: int
    row: BackendRow
    fresh: bool


SETTLED, MOVING, MOVED = 0, 1, 2  # states of a slot: bpf/maps.h, `SLOT_...`


def slot_word(backend: int, previous: int = NO_BACKEND, state: int = SETTLED) -> int:
    """Return a slot as one word: two backend indexes and its state. A settled slot has no previous backend."""
    return backend | previous << 32 | state << 62


def slot_parts(word: int) -> tuple[int, int, int]:
    """Return (backend, previous, state) of a slot's word."""
    return word & 0xFFFFFFFF, word >> 32 & 0x3FFFFFFF, word >> 62


@dataclass(frozen=True, slots=True)
class PutSlots:
    """Point slots of a service at backends: `entries` maps slot to its new word."""

    service: int  # identity
    entries: dict[int, int]


@dataclass(frozen=True, slots=True)
class PutLimit:
    """Write a service's limits."""

    index: int
    row: LimitRow


@dataclass(frozen=True, slots=True)
class PutService:
    """Write a row of `services`."""

    number: int
    row: ServiceRow


@dataclass(frozen=True, slots=True)
class PutNetwork:
    """Lead the addresses of a network to the rows of its VIPs."""

    network: Network
    word: int


@dataclass(frozen=True, slots=True)
class ClearNetwork:
    """Forget a network."""

    network: Network


@dataclass(frozen=True, slots=True)
class ClearService:
    """Forget what is in a row."""

    number: int


@dataclass(frozen=True, slots=True)
class ClearLimit:
    """Give an index of `limits` free, when no row names it any more."""

    index: int


@dataclass(frozen=True, slots=True)
class ClearBackend:
    """Give an index free, when no slot names it any more."""

    index: int


Change: TypeAlias = (
    PutBackend | PutSlots | PutLimit | PutService | PutNetwork | ClearNetwork | ClearService | ClearLimit | ClearBackend
)


def entries_written(changes: Sequence[Change]) -> int:
    """Return how many map entries these changes write."""
    return sum(len(change.entries) if isinstance(change, PutSlots) else 1 for change in changes)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was sent to one backend: `struct traffic`, summed over the CPUs."""

    packets: int = 0
    bytes: int = 0
    connections: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.packets + other.packets, self.bytes + other.bytes, self.connections + other.connections)

    def per_s(self, before: Traffic, seconds: float) -> Traffic:
        """Return what was sent since then, in a second."""
        pairs = ((self.packets, before.packets), (self.bytes, before.bytes), (self.connections, before.connections))
        return Traffic(*(round((now - was) / seconds) for now, was in pairs))
