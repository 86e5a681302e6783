"""From a service's ring to the words of its slots: who has each, and who had it as long as its flows may live.

Pure. Law of a slot's states: ../bpf/steer.h.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from xdplb.desired import DesiredBackend, DesiredService
from xdplb.differences import differences
from xdplb.ring import Member, Ring
from xdplb.tables import MOVED, MOVING, NO_BACKEND, SETTLED, Tables, slot_parts, slot_word


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a ring lies in the table of slots."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Slots (numbers in the table) of a service that may go on: from moving to moved, from moved to settled."""

    windows: Collection[int] = ()  # whose learn window is over
    flows: Collection[int] = ()  # of which no flow is remembered any more


NOTHING = Ended()


@dataclass(slots=True)
class RingMemo:
    """A ring as it was last written: where, who has which place in it, and which of its slots are not settled."""

    extent: Extent
    ring: Ring
    index_of: list[int]  # of each place; the last one is nobody's
    unsettled: set[int]

    def word(self, slot: int) -> int:
        """Return the index of the backend that a slot is to have."""
        return self.index_of[self.ring.places[slot]]


def member(backend: DesiredBackend) -> Member:
    """Return a backend as its ring sees it: whatever keeps it from new flows counts as not up."""
    return Member(
        key=f"{backend.backend.name}\0{backend.backend.address}",
        weight=backend.backend.weight if backend.member else 0,
        up=backend.serves,
        share=backend.share,
    )


def fill_ring(
    service: DesiredService,
    extent: Extent,
    was: Extent,
    indexes: Mapping[int, int],
    live: Collection[int],
    actual: Tables,
    due: Ended,
    known: RingMemo | None,
) -> tuple[RingMemo, dict[int, int]]:
    """Return a ring that is built anew, and the slots to write; `was`: where it lies now; `known`: as it was last."""
    ring = Ring([member(b) for b in service.backends], extent.size, service.name)
    index_of = [indexes.get(service.backends[i].identity, NO_BACKEND) for i in ring.order] + [NO_BACKEND]
    if known and known.extent == extent == was and known.index_of == index_of:
        memo = RingMemo(extent, ring, index_of, known.unsettled)
        return memo, write_slots(
            service, memo, known.unsettled.union(differences(known.ring.places, ring.places)), live, actual, due
        )
    memo = RingMemo(extent, ring, index_of, set())
    before, entries = _words(actual, was), {}
    for slot in range(extent.size):
        # Slots are picked by a hash's upper bits: a slot of a ring twice as large is half of one of the old.
        old_slot = slot * was.size // extent.size
        word = _next(before[old_slot], memo.word(slot), live, service, due, was.offset + old_slot)
        if was != extent or before[old_slot] != word:
            entries[extent.offset + slot] = word
        if word >> 62:
            memo.unsettled.add(slot)
    return memo, entries


def write_slots(
    service: DesiredService,
    memo: RingMemo,
    slots: Iterable[int],
    live: Collection[int],
    actual: Tables,
    due: Ended,
) -> dict[int, int]:
    """Return which of these slots to write; all others are right. Keep in mind which ones are not settled then."""
    offset, entries = memo.extent.offset, {}
    for slot in sorted(slots):
        have = actual.slots[offset + slot]
        word = _next(have, memo.word(slot), live, service, due, offset + slot)
        if have != word:
            entries[offset + slot] = word
        if word >> 62:
            memo.unsettled.add(slot)
        else:
            memo.unsettled.discard(slot)
    return entries


def due_slots(memo: RingMemo, due: Ended) -> list[int]:
    """Return the slots of a ring that may go on."""
    offset = memo.extent.offset
    return [slot for slot in memo.unsettled if offset + slot in due.windows or offset + slot in due.flows]


def _words(actual: Tables, extent: Extent) -> Sequence[int]:
    """Return a ring's slots; the tables may be those of before a growth, and smaller: what is not there is empty."""
    found = actual.slots[extent.offset : extent.offset + extent.size]
    return found if len(found) == extent.size else [*found, *[NO_BACKEND] * (extent.size - len(found))]


def _next(have: int, backend: int, live: Collection[int], service: DesiredService, due: Ended, slot: int) -> int:
    """Return a slot's next word. While it moves, `previous` stays the oldest backend that it had, if that lives.

    Law: ../bpf/steer.h; with a learn window of 0, nothing is protected.
    """
    if have == backend:
        return have  # settled, and right
    owner, previous, state = slot_parts(have)
    if not service.learn_window_s:
        return slot_word(backend)
    if owner != backend:
        oldest = previous if state == MOVING else owner
        if oldest not in live:
            oldest = NO_BACKEND
        if state == SETTLED and oldest == NO_BACKEND:  # nobody had it, or who had it is gone
            return slot_word(backend)
        return slot_word(backend, oldest, MOVING)
    if state == MOVED and slot in due.flows:
        return slot_word(backend)
    if state == MOVING and slot in due.windows:
        state = MOVED
    return slot_word(backend, previous if previous in live else NO_BACKEND, state)
