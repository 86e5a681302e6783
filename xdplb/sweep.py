"""One look through the remembered flows: which may be forgotten, how many each backend has left, which slots have none.

Pure. Words of the table are read in pieces of any size, whoever holds it; what a word says stands in `bpf/maps.h`, what
a flow of each kind of slot needs in `bpf/steer.h`. Measured by `python -m tools.bench_sweep`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from xdplb.contract import CONSTANTS
from xdplb.desired import DesiredService
from xdplb.tables import MOVED, MOVING, SETTLED, Tables, slot_parts

OPEN_UNIT_S = 32.0  # of the time in a flow's word
CLOSING_UNIT_S = 1.0
CYCLE = 255  # of both; 0 is no time
CLOSED_S = 30.0  # a flow that has sent FIN or RST and then nothing for so long has ended
CHUNK = 4096  # words; a piece takes some milliseconds

_STAMP = CONSTANTS["FLOW_STAMP_SHIFT"]
_LEAST_FLOW = 1 << _STAMP  # what is less is a free place, or no flow
_BACKEND = _LEAST_FLOW - 1
_STAMPS = 1 << (CONSTANTS["FLOW_CLOSING_SHIFT"] + 1 - _STAMP)  # closing or not, and the time
_ANY_STAMP = _STAMPS - 1
_UNSETTLED, _MOVED = MOVING << 62, MOVED << 62


@dataclass(slots=True)
class Clock:
    """The time that flows are stamped with. It goes on from where a dead daemon left it, and never leaps."""

    open: int = 1
    closing: int = 1
    _open_s: float = 0.0  # on the way to the next unit
    _closing_s: float = 0.0

    @classmethod
    def from_word(cls, word: int) -> Clock:
        """Go on from what lies in `stamps`."""
        return cls(word & 0xFF or 1, word >> 8 & 0xFF or 1)

    @property
    def word(self) -> int:
        """What lies in `stamps`."""
        return self.open | self.closing << 8

    def advance(self, seconds: float) -> None:
        """Go on, but never by much at once: who was not stamped because nobody told the time is not old."""
        self._open_s, self._closing_s = self._open_s + seconds, self._closing_s + seconds
        if self._open_s >= OPEN_UNIT_S:
            self.open, self._open_s = self.open % CYCLE + 1, 0.0
        units = int(min(self._closing_s / CLOSING_UNIT_S, CLOSED_S / CLOSING_UNIT_S / 3))
        if units:
            self.closing, self._closing_s = (self.closing - 1 + units) % CYCLE + 1, 0.0

    def expired(self, idle_s: float) -> bytes:
        """Return, for each stamp of a word, whether a flow that has it is over."""
        found = bytearray(_STAMPS)
        for stamp in range(1, CYCLE + 1):
            found[stamp] = (self.open - stamp) % CYCLE > -(-idle_s // OPEN_UNIT_S)
            found[_STAMPS // 2 + stamp] = (self.closing - stamp) % CYCLE > CLOSED_S // CLOSING_UNIT_S
        return bytes(found)


class Holder(NamedTuple):
    """A service whose backends flows are remembered for. A tuple, because it is taken apart for every flow."""

    expired: bytes
    shift: int  # of a flow's word, for the number of its slot
    goes: Sequence[int]  # of each slot: the backend whose flows need no memory, or one of the two below
    left: set[int]  # its moved slots that have flows elsewhere


_ALL_KEPT, _NONE_KEPT = -1, -2


@dataclass(slots=True)
class Look:
    """One pass; `take` it all the words, then read what it found."""

    holders: dict[int, Holder]  # by backend's index
    flows: list[int] = field(default_factory=lambda: [0] * (_BACKEND + 1))  # left, by backend's index
    moving_from: Counter[int] = field(default_factory=Counter)  # moving slots, by previous backend's index
    _moved: dict[int, tuple[int, set[int], set[int]]] = field(default_factory=dict)  # by service: offset, all, left

    def take(self, words: Sequence[int]) -> list[int]:
        """Return the places among these words whose flows may be forgotten."""
        forget, find, flows = [], self.holders.get, self.flows
        for at, word in enumerate(words):
            if word < _LEAST_FLOW:
                continue
            backend = word & _BACKEND
            holder = find(backend)
            if holder is None:
                forget.append(at)
                continue
            expired, shift, goes, left = holder
            slot = word >> shift
            goes_to = goes[slot]
            if goes_to == backend or goes_to == _NONE_KEPT or expired[word >> _STAMP & _ANY_STAMP]:  # noqa: SIM109 (slower)
                forget.append(at)
                continue
            flows[backend] += 1
            if goes_to != _ALL_KEPT:
                left.add(slot)
        return forget

    def count(self, index: int) -> int:
        """Return how many flows a backend has left; those of very high indexes are not remembered."""
        return self.flows[index] if index <= _BACKEND else 0

    def without_flows(self) -> dict[int, set[int]]:
        """Return, when all words have been taken, the moved slots of each service that may settle."""
        found = {
            service: {offset + slot for slot in all_ - left} for service, (offset, all_, left) in self._moved.items()
        }
        return {service: slots for service, slots in found.items() if slots}

    def note_slots(self, service: int, offset: int, ring: Sequence[int], left: set[int]) -> None:
        """Take up which slots of a service are not settled."""
        self._moved[service] = offset, {slot for slot, word in enumerate(ring) if word >= _MOVED}, left
        self.moving_from.update(word >> 32 & 0x3FFFFFFF for word in ring if _UNSETTLED <= word < _MOVED)


def _goes(word: int) -> int:
    """Return whose flows a slot sends to where they live anyway."""
    backend, _, state = slot_parts(word)
    return {SETTLED: _NONE_KEPT, MOVING: _ALL_KEPT}.get(state, backend)


def count_flows(words: Sequence[int]) -> int:
    """Return how many of these words are flows."""
    return sum(word >= _LEAST_FLOW for word in words)


def backends_named(tables: Iterable[Sequence[int]]) -> set[int]:
    """Return the indexes of all backends that flows are remembered for."""
    return {word & _BACKEND for words in tables for word in words if word >= _LEAST_FLOW}


def look_for(services: Sequence[DesiredService], tables: Tables, clock: Clock) -> Look:
    """Begin a pass through the flows of these services in these tables."""
    extents = {row.identity: (row.ring_offset, row.ring_size) for row in tables.services.values() if row.ring_size}
    indexes = {row.identity: index for index, row in tables.backends.items()}
    look = Look({})
    for service in services:
        if service.identity not in extents:
            continue
        offset, size = extents[service.identity]
        ring = tables.slots[offset : offset + size]
        shift = 64 - (size - 1).bit_length() if size > 1 else 64
        settled = max(ring) < _UNSETTLED
        goes = [_NONE_KEPT] * size if settled else [_goes(word) for word in ring]
        holder = Holder(clock.expired(service.idle_timeout_s), shift, goes, set())
        look.holders |= {indexes[b.identity]: holder for b in service.backends if b.identity in indexes}
        if not settled:
            look.note_slots(service.identity, offset, ring, holder.left)
    return look
