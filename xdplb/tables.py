"""The rows of the kernel's tables as plain values, and the changes that can be made to them.

What a row means stands in `bpf/maps.h`; how its bytes lie, only `dataplane` knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from xdplb.model import Address, Vip

NO_BACKEND = 0  # an index that no backend has: the content of an empty slot


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much room the tables have. A row number has `rows_bits` bits; index 0 of `backends` is not used."""

    rows_bits: int = 12
    slots: int = 1 << 18
    backends: int = 1 << 12

    def holds(self, other: Capacity) -> bool:
        """Whether there is at least as much room as in `other`."""
        return self.rows_bits >= other.rows_bits and self.slots >= other.slots and self.backends >= other.backends


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One VIP: `struct service`."""

    vip: Vip
    ring_offset: int
    ring_size: int
    identity: int


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One backend of one service: `struct backend`. `ethernet` is the whole header, 14 bytes."""

    ethernet: bytes
    source: Address
    address: Address
    egress: int
    identity: int
    up: bool = True

    @property
    def outer(self) -> int:
        """The family of the outer header: 4 or 6."""
        return self.address.version

    @property
    def checksum(self) -> int:
        """The sum of an outer IPv4 header's constant words, as they lie in memory; 0 for IPv6 (RFC 1071)."""
        if self.outer == 6:
            return 0
        constant = bytes.fromhex("4500 0000 0000 4000 4000 0000") + self.source.packed + self.address.packed
        return sum(int.from_bytes(constant[i : i + 2], "little") for i in range(0, 20, 2))


@dataclass(slots=True)
class Tables:
    """What lies in the tables: rows in use by number, and every slot as one word (see `slot_word`)."""

    services: dict[int, ServiceRow] = field(default_factory=dict)
    backends: dict[int, BackendRow] = field(default_factory=dict)
    slots: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class PutBackend:
    """Write a row that no slot names yet, or bring one up to date. `fresh`: its traffic starts at 0."""

    index: int
    row: BackendRow
    fresh: bool


def slot_word(backend: int, previous: int = 0) -> int:
    """Return `struct slot` as the word that is stored: two backend indexes; `previous` 0 means settled."""
    return backend | previous << 32


def slot_backends(word: int) -> tuple[int, int]:
    """Return (backend, previous) of a slot's word."""
    return word & 0xFFFFFFFF, word >> 32


@dataclass(frozen=True, slots=True)
class PutSlots:
    """Point slots of a service at backends: `entries` maps slot to its new word."""

    service: int  # identity
    entries: dict[int, int]

    def moves(self) -> bool:
        """Whether any of them is moving afterwards."""
        return any(word >> 32 for word in self.entries.values())


@dataclass(frozen=True, slots=True)
class PutService:
    """Write a VIP's row."""

    number: int
    row: ServiceRow


@dataclass(frozen=True, slots=True)
class ClearService:
    """Forget the VIP in a row."""

    number: int


@dataclass(frozen=True, slots=True)
class ClearBackend:
    """Give an index free, when no slot names it any more."""

    index: int


Change: TypeAlias = PutBackend | PutSlots | PutService | ClearService | ClearBackend


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
