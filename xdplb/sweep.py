"""One look through the remembered flows: which may be forgotten, how many each backend has left, which slots have none.

Pure. Words of the table are read in pieces of any size, whoever holds it; what a word says stands in `bpf/maps.h`, what
a flow of each kind of slot needs in `bpf/steer.h`. Measured by `python -m tools.bench_sweep`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xdplb.contract import CONSTANTS
from xdplb.desired import DesiredService
from xdplb.tables import MOVED, MOVING, Tables

OPEN_UNIT_S = 32.0  # of the time in a flow's word
CLOSING_UNIT_S = 1.0
CYCLE = 255  # of both; 0 is no time
CLOSED_S = 30.0  # a flow that has sent FIN or RST and then nothing for so long has ended
CHUNK = 4096  # words; a piece takes some milliseconds

_STAMP = CONSTANTS["FLOW_STAMP_SHIFT"]
_LEAST_FLOW = 1 << _STAMP  # what is less is a free place, or no flow
_BACKEND = _LEAST_FLOW - 1
_STAMPS = 1 << (CONSTANTS["FLOW_CLOSING_SHIFT"] + 1 - _STAMP)  # closing or not, and the time
_UNSETTLED, _MOVED = MOVING << 62, MOVED << 62
_OWNER = (1 << 32) - 1


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


@dataclass(slots=True)
class Holder:
    """A service whose backends flows are remembered for."""

    service: int
    offset: int
    ring: Sequence[int]  # its slots' words
    shift: int  # of a flow's word, for the number of its slot
    expired: bytes


@dataclass(slots=True)
class Look:
    """One pass; `take` it all the words, then read what it found."""

    holders: dict[int, Holder]  # by backend's index
    flows: Counter[int] = field(default_factory=Counter)  # left, by backend's index
    moving_from: Counter[int] = field(default_factory=Counter)  # moving slots, by previous backend's index
    moved: dict[int, set[int]] = field(default_factory=dict)  # slots by service; in the end, those without flows

    def take(self, words: Sequence[int]) -> list[int]:
        """Return the places among these words whose flows may be forgotten."""
        forget, holders, flows = [], self.holders, self.flows
        for at, word in enumerate(words):
            if word < _LEAST_FLOW:
                continue
            backend = word & _BACKEND
            holder = holders.get(backend)
            if holder is None or holder.expired[word >> _STAMP & (_STAMPS - 1)]:
                forget.append(at)
                continue
            slot = word >> holder.shift
            have = holder.ring[slot]
            if have < _UNSETTLED or (have >= _MOVED and have & _OWNER == backend):
                forget.append(at)  # its slot sends it there anyway
                continue
            flows[backend] += 1
            if have >= _MOVED:
                self.moved[holder.service].discard(holder.offset + slot)
        return forget


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
        holder = Holder(service.identity, offset, ring, shift, clock.expired(service.idle_timeout_s))
        look.holders |= {indexes[b.identity]: holder for b in service.backends if b.identity in indexes}
        if max(ring) >= _UNSETTLED:
            _note_slots(look, holder)
    return look


def _note_slots(look: Look, holder: Holder) -> None:
    unsettled = [(slot, word) for slot, word in enumerate(holder.ring, holder.offset) if word >= _UNSETTLED]
    look.moved[holder.service] = {slot for slot, word in unsettled if word >= _MOVED}
    look.moving_from.update(word >> 32 & 0x3FFFFFFF for _, word in unsettled if word < _MOVED)


def slots_without_flows(look: Look) -> Mapping[int, set[int]]:
    """Return, when all words have been taken, the moved slots of each service that may settle."""
    return {service: slots for service, slots in look.moved.items() if slots}
