"""Learn windows begin with a change, begin anew with another one, and end for each slot by itself."""

from __future__ import annotations

from dataclasses import replace

from tests.rig.packets import config, service
from tests.rig.xdp import desired
from xdplb.slots import Ended
from xdplb.tables import MOVED, MOVING, Change, ClearBackend, PutSlots, ServiceRow, Tables, slot_word
from xdplb.transitions import Transitions

SERVICES = desired(config(replace(service(), learn_window_s=10.0)))
WEB = SERVICES[0].identity


def put(*words: int, first: int = 0) -> list[Change]:
    return [PutSlots(WEB, dict(enumerate(words, first)))]


def moving(backend: int) -> int:
    return slot_word(backend, 1, MOVING)


def test_a_window_ends_for_those_slots_that_began_it() -> None:
    transitions = Transitions()
    assert transitions.settled
    assert transitions.next_end() is None

    transitions.note(put(moving(2), moving(2)), SERVICES, now=0.0)
    transitions.note(put(moving(3), first=1), SERVICES, now=4.0)  # changes again: anew

    assert not transitions.settled
    assert transitions.next_end() == 10.0
    assert transitions.learned(9.9) == {}
    assert transitions.learned(10.0) == {WEB: {0}}
    assert transitions.learned(14.0) == {WEB: {0, 1}}


def test_slots_that_have_moved_are_waited_for_and_settled_ones_are_not() -> None:
    transitions = Transitions()
    transitions.note(put(moving(2), moving(2)), SERVICES, now=0.0)

    transitions.note(put(slot_word(2, 1, MOVED)), SERVICES, now=10.0)
    assert transitions.learned(10.0) == {WEB: {1}}

    transitions.note(put(2, 2), SERVICES, now=11.0)
    assert transitions.settled
    assert transitions.learned(99.0) == {}


def test_what_a_dead_daemon_left_begins_anew() -> None:
    transitions, row = Transitions(), ServiceRow((0, 0, 1), ring_offset=4, ring_size=4, identity=WEB)
    slots = [0] * 4 + [2, moving(2), slot_word(2, 1, MOVED), 2]

    transitions.adopt(Tables(services={0: row}, slots=slots), SERVICES, now=100.0)

    assert transitions.learned(110.0) == {WEB: {5}}
    transitions.note(put(2, 2, first=5), SERVICES, now=111.0)
    assert transitions.settled


def test_a_service_that_is_gone_has_no_window() -> None:
    transitions = Transitions()
    transitions.note(put(moving(2)), (), now=0.0)
    assert transitions.learned(0.0) == {WEB: {0}}


def test_what_was_found_out_about_older_slots_is_forgotten_with_a_change() -> None:
    transitions = Transitions()
    transitions.note(put(moving(2), slot_word(2, 1, MOVED)), SERVICES, now=0.0)
    before = transitions.generation
    transitions.without_flows = {WEB: {1}}
    assert transitions.ended(10.0) == {WEB: Ended({0}, {1})}

    transitions.note(put(moving(3)), SERVICES, now=1.0)

    assert transitions.generation > before
    assert transitions.ended(10.0) == {}


def test_indexes_of_backends_that_go_are_held_while_flows_are_remembered() -> None:
    transitions = Transitions()
    transitions.note([*put(moving(2)), ClearBackend(1)], SERVICES, now=0.0)
    assert transitions.held == {1}
    nothing = Transitions()
    nothing.remembers = False
    nothing.note([*put(2), ClearBackend(1)], SERVICES, now=0.0)
    assert nothing.held == set()
