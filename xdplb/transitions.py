"""Which slots are not settled, and until when they keep on learning. Pure: the time comes in.

A slot whose backend changes is *moving* for a learn window: its older flows are learned. Then it has *moved*: who is
remembered stays, and when none of them is left, it is settled. A change within the window begins it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xdplb.tables import MOVED, MOVING, SETTLED, Change, PutSlots, Tables, slot_parts


@dataclass(slots=True)
class _Ring:
    """Slots of one service, by their numbers in the table."""

    learning: list[tuple[float, set[int]]] = field(default_factory=list)  # until when; each slot is in one of them
    moved: set[int] = field(default_factory=set)

    def drop(self, slots: set[int]) -> None:
        """Forget these."""
        self.moved -= slots
        for _, learning in self.learning:
            learning -= slots
        self.learning = [(until, learning) for until, learning in self.learning if learning]


class Transitions:
    """The slots of all services that are not settled."""

    def __init__(self) -> None:
        self._rings: dict[int, _Ring] = {}

    @property
    def settled(self) -> bool:
        """Whether all slots are."""
        return not self._rings

    def adopt(self, tables: Tables, windows: Mapping[int, float], now: float) -> None:
        """Take over slots as they lie in tables: nobody knows for how long they have been moving, so all begin anew."""
        self._rings = {}
        for row in {row.identity: row for row in tables.services.values() if row.ring_size}.values():
            ring = tables.slots[row.ring_offset : row.ring_offset + row.ring_size]
            self._put(row.identity, enumerate(ring, row.ring_offset), windows, now)

    def note(self, changes: Sequence[Change], windows: Mapping[int, float], now: float) -> None:
        """Take up what was written. `windows`: the learn window of each service, in seconds."""
        for change in changes:
            if isinstance(change, PutSlots):
                self._put(change.service, change.entries.items(), windows, now)

    def _put(self, service: int, words: Iterable[tuple[int, int]], windows: Mapping[int, float], now: float) -> None:
        by_state: dict[int, set[int]] = {SETTLED: set(), MOVING: set(), MOVED: set()}
        for slot, word in words:
            by_state[slot_parts(word)[2]].add(slot)
        ring = self._rings.setdefault(service, _Ring())
        ring.drop(by_state[SETTLED] | by_state[MOVING] | by_state[MOVED])
        ring.moved |= by_state[MOVED]
        if by_state[MOVING]:
            ring.learning.append((now + windows.get(service, 0.0), by_state[MOVING]))
        if not ring.learning and not ring.moved:
            del self._rings[service]

    def learned(self, now: float) -> dict[int, set[int]]:
        """Return the slots of each service whose learn window is over."""
        found: dict[int, set[int]] = {}
        for service, ring in self._rings.items():
            for until, slots in ring.learning:
                if until <= now:
                    found.setdefault(service, set()).update(slots)
        return found

    def next_end(self) -> float | None:
        """Return when the next learn window ends."""
        return min((until for ring in self._rings.values() for until, _ in ring.learning), default=None)
