"""Ten minutes and more in milliseconds: what docs/health.md promises. The clock jumps; checks and rings are real."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.rig.checks import Turn, Well, World, drive, one_hz, play, spiteful
from tests.rig.packets import BACKENDS4, config, service
from xdplb.desired import Health
from xdplb.health.check import FLAP_HOLDS, FLAP_S, Result, RiseFall
from xdplb.health.combine import combine
from xdplb.model import Backend, Check, WhenAllDown
from xdplb.slots import member

ONE, TWO, THREE = (("web", b.name) for b in BACKENDS4)
FOUR = Backend("four14", BACKENDS4[0].address + 1)
DEFAULT = Check(80)
QUICK = Check(80, interval_s=0.1, timeout_s=0.1)
TEN_MINUTES = 600.0


def longest_wait(turns: list[Turn], well_from: float) -> float:
    """For how long a backend that is well from then on stays down."""
    return max(0.0, turns[-1].at - well_from) if turns[-1].up else float("inf")


# --- flapping -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [DEFAULT, QUICK, replace(QUICK, rise=1, fall=1)], ids=["default", "quick", "1 of 1"])
def test_flapping_at_one_hertz_for_ten_minutes_changes_a_backend_at_most_14_times(check: Check) -> None:
    turns = [drive(check, one_hz(phase / 10), TEN_MINUTES, seed) for phase in range(10) for seed in range(3)]
    assert 2 < max(len(its) for its in turns) <= 14
    assert len(drive(check, spiteful, TEN_MINUTES)) <= 14


def test_who_goes_on_changes_twice_in_five_minutes() -> None:
    turns = drive(DEFAULT, spiteful, 3600)
    late = [turn.at for turn in turns if turn.at > TEN_MINUTES]
    assert len(late) <= 2 * (3600 - TEN_MINUTES) / 300


def patient(falls: int) -> Well:
    """Fall so often in a row, then wait until that is forgotten."""

    def well(now: float, machine: RiseFall) -> bool:
        if not machine.up or machine.rose_at is None:
            return not machine.up
        waits_s = max(FLAP_S, FLAP_HOLDS * machine.hold_s) if machine.falls >= falls else 0
        return now - machine.rose_at < waits_s

    return well


@pytest.mark.parametrize("falls", [1, 2, 3, 4, 5])
def test_whatever_a_backend_does_it_changes_at_most_four_times_a_minute(falls: int) -> None:
    quick = replace(QUICK, interval_s=0.01, rise=1, fall=1)
    assert 10 < len(drive(quick, patient(falls), TEN_MINUTES)) <= 4 * TEN_MINUTES / 60 + 4


def test_without_a_hold_time_it_changes_as_often_as_rise_and_fall_let_it() -> None:
    assert len(drive(replace(QUICK, rise=1, fall=1, hold_down_s=0), one_hz(), 60)) > 60


def test_who_flapped_for_ten_minutes_and_is_well_again_serves_after_the_longest_hold_time_at_the_latest() -> None:
    for check in (DEFAULT, QUICK):
        for flaps in (one_hz(), one_hz(0.3), spiteful):
            turns = drive(check, lambda now, m, flaps=flaps: now > TEN_MINUTES or flaps(now, m), 1300)  # type: ignore[misc]
            assert longest_wait(turns, TEN_MINUTES) <= check.hold_down_max_s + 1.1 * check.interval_s + 0.1


def test_a_first_failure_costs_no_hold_time() -> None:
    turns = drive(DEFAULT, lambda now, _: not 100 < now < 200, 300)
    assert [turn.up for turn in turns] == [True, False, True]
    assert turns[1].at <= 100 + 1.1 * (2 + 1 + 1) + 0.1
    assert turns[2].at <= 200 + 1.1 * (2 + 1) + 0.1


@pytest.mark.parametrize(
    "check", [DEFAULT, Check(80, interval_s=1, timeout_s=0.5), Check(80, 1, timeout_s=0.4, fall=1)]
)
def test_who_answers_nothing_any_more_is_down_after_an_interval_the_fast_ones_and_a_timeout(check: Check) -> None:
    fast_s = check.interval_s / 2
    most = 1.1 * (check.interval_s + (check.fall - 1) * fast_s) + check.timeout_s
    for seed in range(20):
        for dies in (100.0, 100.7, 101.3):
            turns = drive(check, lambda now, _, at=dies: now < at, 120, seed, failure_took_s=check.timeout_s)  # type: ignore[misc]
            assert [turn.up for turn in turns] == [True, False]
            assert turns[1].at - dies <= most + 0.01


def test_each_change_of_a_ring_is_a_report_and_moves_the_slots_of_that_backend_alone() -> None:
    world = World(config(service()))
    share = world.slots()[TWO[1]]

    moved = play(world, {TWO: drive(DEFAULT, spiteful, TEN_MINUTES)})

    assert 2 < len(moved) <= 14
    assert {slots for _, slots in moved} == {share}


# --- restart ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("well", [spiteful, one_hz(0.2), lambda now, _: now % 50 < 30], ids=["spite", "1 Hz", "slow"])
def test_with_restarts_everything_comes_as_it_does_without(well: Well) -> None:
    check = replace(DEFAULT, interval_s=1.7)  # so that probes meet one hertz in every phase
    without = drive(check, well, TEN_MINUTES, seed=None)

    restarted = drive(check, well, TEN_MINUTES, seed=None, restarts=[n * 3.7 + 0.13 for n in range(1, 150)])

    assert len(without) > 3
    assert [(t.up, t.cause) for t in restarted] == [(t.up, t.cause) for t in without]
    assert [t.at for t in restarted] == pytest.approx([t.at for t in without])


# --- several checks -----------------------------------------------------------------------------------------


def test_two_of_three_checks_are_enough() -> None:
    fails = {"a": (100, 200), "b": (150, 250), "c": (0, 0)}
    turns = [
        (turn.at, name, turn.up)
        for name, (begin, end) in fails.items()
        for turn in drive(DEFAULT, lambda now, _, begin=begin, end=end: not begin < now < end, 400)  # type: ignore[misc]
    ]
    results: dict[str, Result] = dict.fromkeys(fails, Result(None, "not probed yet"))
    seen: list[tuple[float, bool | None]] = []
    for at, name, up in sorted(turns):
        results[name] = Result(up, name)
        found = combine([[result] for result in results.values()], needed=2).up
        if found is not None and (not seen or seen[-1][1] != found):
            seen.append((at, found))
    assert [up for _, up in seen] == [True, False, True]
    assert 150 < seen[1][0] < 156
    assert 200 < seen[2][0] < 206


# --- too few are up -----------------------------------------------------------------------------------------


def names(world: World) -> list[str]:
    """Who has slots."""
    return [name for name in world.slots() if name]


def test_when_all_are_down_and_drop_is_said_nobody_has_the_slots_until_one_is_back() -> None:
    world = World(config(service()))
    world.set({ONE: False, TWO: False})
    assert world.slots() == {THREE[1]: 1024}
    assert world.set({THREE: False}) == 1024
    assert names(world) == []
    world.set({TWO: True})
    assert names(world) == [TWO[1]]


def test_when_all_are_down_and_keep_is_said_all_have_their_slots() -> None:
    world = World(config(service(when_all_down=WhenAllDown.KEEP)))
    usual = world.owners()
    world.set({ONE: False, TWO: False})
    last = world.slots()[THREE[1]]

    assert world.set({THREE: False}) == last - usual.count(THREE[1])  # who was the last keeps what was its own

    assert world.owners() == usual
    assert all(row.up for row in world.fake.backends.values())
    assert world.set({ONE: True}) == 1024 - usual.count(ONE[1])
    assert names(world) == [ONE[1]]
    assert [row.up for row in world.fake.backends.values()] == [True, False, False]


def lending(**fields: Any) -> World:
    """`web`, and a service that has two backends to lend."""
    spare = service("spare", backends=[Backend("s1", FOUR.address), Backend("s2", FOUR.address + 1)], vips=())
    spare = replace(spare, vips=(replace(service().vips[0], port=81),))
    return World(config(service(when_all_down=WhenAllDown.FALLBACK, fallback="spare", **fields), spare))


def test_a_fallback_has_the_ring_only_while_all_of_a_services_own_are_down() -> None:
    world, without = lending(), World(config(service()))
    usual = world.owners()
    assert usual == without.owners()  # whoever lends has no slot and moves none
    world.set({ONE: False, TWO: False})
    assert names(world) == [THREE[1]]

    world.set({THREE: False})
    assert names(world) == ["spare/s1", "spare/s2"]
    assert [member(b).weight for b in world.services[0].backends] == [0, 0, 0, 100, 100]
    both = world.slots()
    assert world.set({("spare", "s2"): False}) == both["spare/s2"]
    assert names(world) == ["spare/s1"]

    assert world.set({ONE: True}) == 1024
    assert names(world) == [ONE[1]]
    lent = [row for row in world.fake.backends.values() if row.address == FOUR.address]
    assert [row.up for row in lent] == [True, True]  # in both services: flows that began there may stay
    world.set({TWO: True, THREE: True})
    assert world.owners() == usual


def test_a_fallback_that_is_down_itself_is_none() -> None:
    world = lending()
    world.set({("spare", "s1"): False, ("spare", "s2"): False})
    world.set({ONE: False, TWO: False, THREE: False})
    assert names(world) == []


def test_panic_begins_and_ends_at_its_threshold_and_moves_only_slots_of_those_that_are_down() -> None:
    world = World(config(service(backends=[*BACKENDS4, FOUR], panic_percent=50)))
    four = ("web", FOUR.name)
    usual, its = world.owners(), world.slots()
    assert world.set({ONE: False}) == its[ONE[1]]
    second = world.slots()[TWO[1]]  # with what it got of the first
    assert world.set({TWO: False}) == second
    assert names(world) == [THREE[1], FOUR.name]

    moved = world.set({THREE: False})  # one of four is left
    assert moved == its[ONE[1]] + its[TWO[1]]  # theirs come back, the third keeps its own
    assert world.owners() == usual
    assert world.set({four: False}) == 0
    assert world.set({four: True}) == 0

    assert world.set({THREE: True}) == its[ONE[1]] + its[TWO[1]]
    assert names(world) == [THREE[1], FOUR.name]
    world.set({ONE: True})
    world.set({TWO: True})
    assert world.owners() == usual


def test_panic_does_not_flap_faster_than_the_check_at_the_threshold() -> None:
    world = World(config(service(backends=[*BACKENDS4, FOUR], panic_percent=50)))
    world.set({ONE: False, TWO: False})
    turns = drive(DEFAULT, spiteful, TEN_MINUTES)

    moved = play(world, {THREE: turns})

    assert len(turns) - 1 == len(moved) <= 14


def test_half_of_its_weight_is_half_of_the_slots_and_no_others_slots_move() -> None:
    world = World(config(service()))
    usual = world.owners()
    world.health[TWO] = Health(True, "well", percent=50)
    world.look(0)
    assert world.slots()[TWO[1]] == pytest.approx(1024 * 0.5 / 2.5, rel=0.15)
    moved = {a for a, b in zip(usual, world.owners(), strict=True) if a != b}
    assert moved == {TWO[1]}


# --- slow start ---------------------------------------------------------------------------------------------


def test_a_slow_start_moves_each_slot_of_the_dead_backend_once() -> None:
    world = World(config(service(slow_start_s=32)))
    usual, share = world.owners(), world.slots()[TWO[1]]
    assert world.set({TWO: False}, now=1) == share
    now = 10.0
    moved = world.set({TWO: True}, now)
    assert 0 < moved < share / 8
    while world.ramps.began:
        now = world.ramps.next_step(now) or now
        moved += world.look(now)
    assert now == 10 + 32 * 15 / 16
    assert moved == share
    assert world.owners() == usual


def test_who_served_in_panic_has_no_slow_start_and_the_first_after_all_were_down_has_none() -> None:
    world = World(config(service(slow_start_s=32, panic_percent=60)))
    world.set({ONE: False, TWO: False}, now=1)  # panic: all serve
    world.set({ONE: True}, now=2)
    assert world.ramps.began == {}
    world.set({TWO: True}, now=3)  # this one did not serve in between
    assert world.ramps.began == {TWO: 3}

    world = World(config(service(slow_start_s=32, when_all_down=WhenAllDown.KEEP)))
    world.set({ONE: False, TWO: False, THREE: False}, now=1)
    world.set({TWO: True}, now=2)
    assert (world.ramps.began, names(world)) == ({}, [TWO[1]])
