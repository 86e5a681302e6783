"""The words of slots: what has to be written, and what is kept in mind of a ring."""

from __future__ import annotations

from tests.rig.packets import BACKENDS4, config, hop, service
from xdplb.desired import DesiredService, Health, Overrides, desire
from xdplb.slots import NOTHING, Ended, Extent, RingMemo, due_slots, fill_ring, member, write_slots
from xdplb.tables import MOVED, MOVING, SETTLED, Tables, slot_parts

EXTENT = Extent(64, 64)


def web(*down: str) -> DesiredService:
    """A service whose other backends are up."""
    health = {("web", b.name): Health(b.name not in down, "") for b in BACKENDS4}
    return desire(config(service(ring_size=64)), Overrides(), health, {b.address: hop(4) for b in BACKENDS4})[0]


INDEXES = {backend.identity: n for n, backend in enumerate(web().backends, 1)}
FIRST = BACKENDS4[0].name


def fill(wanted: DesiredService, tables: Tables, known: RingMemo | None = None) -> tuple[RingMemo, dict[int, int]]:
    return fill_ring(wanted, EXTENT, EXTENT, INDEXES, INDEXES.values(), tables, NOTHING, known)


def put(tables: Tables, entries: dict[int, int]) -> None:
    assert isinstance(tables.slots, list)
    for slot, word in entries.items():
        tables.slots[slot] = word


def test_a_ring_of_its_own_is_written_whole_and_where_nothing_was_nothing_moves() -> None:
    memo, entries = fill(web(), Tables(slots=[0] * 128))
    assert set(entries) == set(range(64, 128))
    assert set(entries.values()) == {1, 2, 3}
    assert memo.unsettled == set()


def test_slots_beyond_the_end_of_smaller_tables_count_as_empty() -> None:
    """As when larger tables are filled, and the smaller ones say what was there."""
    whole = fill(web(), Tables(slots=[0] * 128))[1]
    for size in (0, 70):
        assert fill(web(), Tables(slots=[0] * size))[1] == whole


def test_following_one_backend_writes_the_same_words_as_building_anew() -> None:
    tables = Tables(slots=[0] * 128)
    followed, entries = fill(web(), tables)
    put(tables, entries)
    without = web(FIRST)

    slots = followed.ring.change({0: member(without.backends[0])})
    by_following = write_slots(without, followed, slots, INDEXES.values(), tables, NOTHING)
    anew, by_building = fill(without, tables)

    assert by_following == by_building
    assert {slot_parts(word)[1:] for word in by_following.values()} == {(1, MOVING)}
    assert (followed.unsettled, followed.ring.places) == (anew.unsettled, anew.ring.places)


def test_slots_that_are_due_go_on_and_no_others() -> None:
    tables = Tables(slots=[0] * 128)
    put(tables, fill(web(), tables)[1])
    memo, entries = fill(web(FIRST), tables)
    put(tables, entries)
    one, other, *_ = sorted(entries)

    for due, state in ((Ended(windows={one}), MOVED), (Ended(flows={one}), SETTLED)):
        slots = due_slots(memo, due)
        assert slots == [one - EXTENT.offset]
        put(tables, write_slots(web(FIRST), memo, slots, INDEXES.values(), tables, due))
        assert slot_parts(tables.slots[one])[2] == state
        assert slot_parts(tables.slots[other])[2] == MOVING

    assert memo.unsettled == {slot - EXTENT.offset for slot in entries} - {one - EXTENT.offset}
