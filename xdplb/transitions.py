"""Which slots are not settled, and until when they keep on learning. Pure: the time comes in.

A slot whose backend changes is *moving* for a learn window: its older flows are learned. Then it has *moved*: who is
remembered stays, and when none of them is left, it is settled. A change within the window begins it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xdplb.desired import DesiredService
from xdplb.slots import Ended
from xdplb.tables import MOVED, MOVING, SETTLED, Change, ClearBackend, PutSlots, Tables, slot_parts


def _windows(services: Sequence[DesiredService]) -> dict[int, float]:
    """Return the learn window of each service."""
    return {service.identity: service.learn_window_s for service in services}


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
    """The slots of all services that are not settled, and what has to be kept in mind for them."""

    def __init__(self) -> None:
        self._rings: dict[int, _Ring] = {}
        self.generation = 0  # of the slots: what was found out about older ones may not be true any more
        self.without_flows: Mapping[int, set[int]] = {}  # moved slots, by service, that no flow is remembered for
        self.remembers = True  # there may be flows in the tables
        self.held: set[int] = set()  # indexes of backends that are gone, but flows may still be remembered for them

    @property
    def settled(self) -> bool:
        """Whether all slots are."""
        return not self._rings

    def adopt(self, tables: Tables, services: Sequence[DesiredService], now: float) -> None:
        """Take over slots as they lie in tables: nobody knows for how long they have been moving, so all begin anew."""
        self._rings, windows = {}, _windows(services)
        self._begin_anew()
        for row in {row.identity: row for row in tables.services.values() if row.ring_size}.values():
            ring = tables.slots[row.ring_offset : row.ring_offset + row.ring_size]
            self._put(row.identity, enumerate(ring, row.ring_offset), windows, now)

    def note(self, changes: Sequence[Change], services: Sequence[DesiredService], now: float) -> None:
        """Take up what was written."""
        puts, windows = [change for change in changes if isinstance(change, PutSlots)], _windows(services)
        for change in puts:
            self._put(change.service, change.entries.items(), windows, now)
        if puts:
            self._begin_anew()
            self.remembers |= not self.settled
        if self.remembers:
            self.held.update(change.index for change in changes if isinstance(change, ClearBackend))

    def _begin_anew(self) -> None:
        self.generation += 1
        self.without_flows = {}

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

    def ended(self, now: float) -> dict[int, Ended]:
        """Return which slots of each service may go on to their next state."""
        learned, without = self.learned(now), self.without_flows
        nothing: set[int] = set()
        return {s: Ended(learned.get(s, nothing), without.get(s, nothing)) for s in learned.keys() | without.keys()}

    def next_end(self) -> float | None:
        """Return when the next learn window ends."""
        return min((until for ring in self._rings.values() for until, _ in ring.learning), default=None)
