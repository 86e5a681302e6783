"""One check as a dialogue, with a clock that the test holds."""

from __future__ import annotations

from typing import Any

import pytest

from xdplb.health.check import (
    CALM_S,
    SUSPECT_S,
    Effect,
    Evidence,
    Memory,
    Probe,
    ProbeEnded,
    Report,
    RiseFall,
    Said,
    Start,
)
from xdplb.health.kinds import Initial
from xdplb.model import Check

PASS, FAIL = ProbeEnded(True, "connected"), ProbeEnded(False, "refused")
USUAL, FAST, SOON, AT_ONCE = Probe(2.0), Probe(1.0), Probe(SUSPECT_S), Probe(0)
UP, DOWN = Report(True, "connected"), Report(False, "refused")
RESETS = Evidence("5 clients were reset")


def machine(up: bool | None = None, **fields: Any) -> RiseFall:
    """A check of which this is known."""
    made = RiseFall(Check(80, **{"interval_s": 2, "rise": 2, "fall": 3, **fields}))
    made.handle(Start(None if up is None else Memory(up, "of before", 0)), 0)
    return made


def tell(check: RiseFall, now: float, *results: ProbeEnded) -> list[Effect]:
    """What the last of these results leads to, all of this moment."""
    return [check.handle(result, now) for result in results][-1]


# --- rise and fall ------------------------------------------------------------------------------------------


def test_first_result_decides_at_once() -> None:
    for first in (PASS, FAIL):
        check = RiseFall(Check(80))
        assert check.handle(Start(), 0) == [AT_ONCE]
        assert check.result.up is None
        assert check.memory is None
        assert check.handle(first, 0.1) == [Report(first.passed, first.cause), USUAL]


def test_it_takes_fall_failures_in_a_row_to_go_down() -> None:
    check = machine(up=True)
    assert check.handle(PASS, 0) == [USUAL]
    assert check.handle(FAIL, 2) == [FAST]
    assert check.handle(FAIL, 3) == [FAST]
    assert check.handle(PASS, 4) == [USUAL]  # a pass forgives earlier failures
    assert check.handle(FAIL, 6) == [FAST]
    assert check.handle(FAIL, 7) == [FAST]
    assert check.handle(FAIL, 8) == [DOWN, USUAL]


def test_it_takes_rise_passes_in_a_row_to_come_up() -> None:
    check = machine(up=False)
    assert check.handle(PASS, 0) == [FAST]
    assert check.handle(FAIL, 1) == [USUAL]
    assert check.handle(PASS, 3) == [FAST]
    assert check.handle(PASS, 4) == [UP, USUAL]


def test_the_fast_interval_may_be_given() -> None:
    assert tell(machine(up=True, fast_interval_s=0.3), 0, FAIL) == [Probe(0.3)]


@pytest.mark.parametrize(("initial", "up"), [(Initial.UP, True), (Initial.DOWN, False)])
def test_what_is_believed_at_first_may_be_given_and_takes_as_many_results_to_change(initial: Initial, up: bool) -> None:
    check = RiseFall(Check(80, rise=2, fall=2, initial=initial))
    report, probe = check.handle(Start(), 7.0)
    assert report == Report(up, f'initially {initial}, as configured (initial = "{initial}")')
    assert probe == AT_ONCE
    other = FAIL if up else PASS
    assert check.handle(other, 7.1) == [FAST]
    assert check.handle(other, 8.1) == [Report(not up, other.cause), USUAL]


def test_the_latest_words_that_agree_are_kept() -> None:
    check = machine(up=True)
    check.handle(ProbeEnded(True, "connected in 3 ms", "its certificate ends in 5 days"), 1)
    check.handle(ProbeEnded(False, "refused"), 3)
    assert check.result.cause == "connected in 3 ms"
    assert check.result.warning == "its certificate ends in 5 days"
    check.handle(ProbeEnded(True, "connected in 4 ms"), 4)
    assert (check.result.cause, check.result.warning) == ("connected in 4 ms", "")


def test_what_an_agent_said_holds_until_it_says_something_else() -> None:
    check = machine(up=True)
    check.handle(ProbeEnded(True, "75%", said=Said(75)), 1)
    check.handle(ProbeEnded(False, "no answer"), 3)
    assert check.result.said == Said(75)
    check.handle(ProbeEnded(True, "drain", said=Said(drain=True)), 4)
    assert check.result.said == Said(drain=True)


# --- restart ------------------------------------------------------------------------------------------------


def test_what_is_known_stays_and_the_first_probe_comes_at_its_part_of_an_interval() -> None:
    known = Memory(True, "connected", since=10, streak=2)
    check = RiseFall(Check(80))
    assert check.handle(Start(known, spread=0.25), 50) == [Probe(0.25)]  # of the fast interval: a change is brewing
    assert check.memory == known
    assert check.handle(FAIL, 50.25) == [DOWN, USUAL]
    quiet = Memory(True, "connected", 10)
    held = Memory(False, "refused", 10, streak=2, passes_since=45, falls=3, spell_since=5, rose_at=9)
    for usual in (quiet, held):
        assert RiseFall(Check(80)).handle(Start(usual, spread=0.25), 50) == [Probe(0.5)]


def test_a_changed_check_goes_on_from_what_is_known() -> None:
    before = machine(up=True, fall=3)
    tell(before, 2, FAIL, FAIL)
    after = RiseFall(Check(443, fall=5))
    after.handle(Start(before.memory), 3)
    assert tell(after, 4, FAIL, FAIL) == [FAST]
    assert tell(after, 5, FAIL) == [DOWN, USUAL]


def test_a_time_that_has_not_come_yet_does_not_hold_it_down_for_ever() -> None:
    check = RiseFall(Check(80))
    check.handle(Start(Memory(False, "", 1e9, 1, passes_since=1e9, falls=2, spell_since=1e9, rose_at=1e9)), 100)
    assert check.handle(PASS, 100) == [USUAL]
    assert check.handle(PASS, 110) == [UP, USUAL]


# --- flapping -----------------------------------------------------------------------------------------------


def fall_and_rise(check: RiseFall, falls_at: float, rises_at: float) -> tuple[Effect, Effect]:
    """Let it fail three times and pass from then on; return both reports, the second at `rises_at` or nothing."""
    down = tell(check, falls_at, FAIL, FAIL, FAIL)[0]
    check.handle(PASS, falls_at)
    return down, check.handle(PASS, rises_at)[0]


def test_a_first_fall_costs_no_more_than_rise() -> None:
    assert fall_and_rise(machine(up=True), 100, 101) == (DOWN, UP)
    from_the_start = machine()
    tell(from_the_start, 0, FAIL)
    assert tell(from_the_start, 1, PASS, PASS)[0] == UP  # what was down at first has not come down yet
    assert fall_and_rise(from_the_start, 10, 11) == (DOWN, UP)


def test_who_comes_down_soon_after_it_came_up_has_to_pass_for_a_time_that_doubles_up_to_the_most() -> None:
    check, now = machine(up=True, hold_down_s=10, hold_down_max_s=50), 100.0
    fall_and_rise(check, now, now + 1)
    for hold_s in (10, 20, 40, 50, 50):
        down, _ = fall_and_rise(check, now + 30, now + 30 + hold_s - 0.1)
        assert isinstance(down, Report)
        assert down.cause.endswith(f"; up after {hold_s} s without a failure")
        assert not check.result.up
        assert check.handle(PASS, now + 30 + hold_s)[0] == UP
        now += 30 + hold_s


def test_it_says_that_it_flaps() -> None:
    check = machine(up=True)
    fall_and_rise(check, 100, 101)
    fall_and_rise(check, 110, 120)
    down = tell(check, 160, FAIL, FAIL, FAIL)[0]
    flapping = "flapping: came down 3 times in 60 s; up after 20 s without a failure"
    assert down == Report(False, f"refused; {flapping}")
    tell(check, 161, PASS, PASS)
    assert check.result.cause == flapping
    check.handle(FAIL, 162)
    assert check.result.cause == f"refused; {flapping}"


def test_a_failure_begins_the_hold_time_anew_and_the_last_probe_comes_at_its_end() -> None:
    check = machine(up=True, hold_down_s=5)
    fall_and_rise(check, 100, 101)
    tell(check, 110, FAIL, FAIL, FAIL)
    assert tell(check, 111, PASS, PASS) == [USUAL]
    assert check.handle(FAIL, 115) == [USUAL]
    assert check.handle(PASS, 117) == [FAST]
    assert check.handle(PASS, 118) == [USUAL]
    assert check.handle(PASS, 120) == [USUAL]
    assert check.handle(PASS, 121.5) == [Probe(0.5)]
    assert check.handle(PASS, 122) == [UP, USUAL]


def test_a_fall_that_comes_late_begins_a_new_spell() -> None:
    check = machine(up=True)
    fall_and_rise(check, 100, 101)
    fall_and_rise(check, 110, 120)  # up again at 120, after a hold time of 10 s
    assert fall_and_rise(check, 180, 181) == (DOWN, UP)
    slow = machine(up=True, interval_s=30)  # ten intervals are longer than a minute
    fall_and_rise(slow, 1000, 1030)
    assert fall_and_rise(slow, 1329, 1331)[1] != UP
    held = machine(up=True, hold_down_s=100)  # and so are two hold times
    fall_and_rise(held, 1000, 1001)
    fall_and_rise(held, 1010, 1110)
    assert fall_and_rise(held, 1309, 1311)[1] != UP


def test_without_a_hold_time_nothing_is_held() -> None:
    check = machine(up=True, hold_down_s=0)
    for now in range(100, 200, 10):
        assert fall_and_rise(check, now, now + 1) == (DOWN, UP)


# --- evidence -----------------------------------------------------------------------------------------------


def test_evidence_makes_probes_come_at_once_and_in_quick_succession_until_they_have_decided() -> None:
    check = machine(up=True)
    assert check.handle(RESETS, 10) == [AT_ONCE]
    assert check.handle(FAIL, 10.001) == [SOON]
    assert check.handle(RESETS, 10.002) == []
    assert check.handle(FAIL, 10.006) == [SOON]
    assert check.handle(FAIL, 10.011) == [Report(False, "5 clients were reset; then refused"), USUAL]
    assert check.handle(RESETS, 10.02) == []  # it is down already
    assert check.handle(PASS, 12) == [FAST]


def test_the_first_pass_clears_it_and_the_same_again_counts_only_after_a_while() -> None:
    check = machine(up=True)
    check.handle(RESETS, 10)
    assert check.handle(FAIL, 10.001) == [SOON]
    assert check.handle(PASS, 10.006) == [USUAL]
    assert check.handle(RESETS, 10.01) == []
    assert check.handle(RESETS, 10.01 + CALM_S) == [AT_ONCE]
    assert check.handle(PASS, 10.2) == [USUAL]
    assert check.handle(RESETS, 10.2 + 1.9 * CALM_S) == []


def test_a_failure_makes_evidence_count_again() -> None:
    check = machine(up=True)
    for now in (10, 11, 12):
        check.handle(RESETS, now)
        check.handle(PASS, now)
    check.handle(RESETS, 13)
    tell(check, 13, FAIL, PASS)
    assert check.handle(RESETS, 13 + CALM_S) == [AT_ONCE]


def test_evidence_that_is_wrong_all_the_time_makes_a_bounded_number_of_probes() -> None:
    check, probes = machine(up=True), 0
    for millisecond in range(60_000):
        if check.handle(RESETS, 10 + millisecond / 1000):
            probes += 1
            check.handle(PASS, 10 + millisecond / 1000)
    assert probes <= 5 + 60 / 2  # 0.1, 0.2, 0.4, 0.8, 1.6 s, and then one more in every interval


def test_a_probe_that_began_before_the_evidence_does_not_clear_it() -> None:
    check = machine(up=True)
    assert check.handle(Evidence("reset", probing=True), 10) == []
    assert check.handle(PASS, 10.1) == [SOON]
    assert check.handle(PASS, 10.11) == [USUAL]


def test_a_probe_that_began_before_the_evidence_counts_when_it_fails() -> None:
    check = machine(up=True, fall=2)
    assert check.handle(Evidence("reset", probing=True), 10) == []
    assert check.handle(FAIL, 10.1) == [SOON]
    assert check.handle(FAIL, 10.11) == [Report(False, "reset; then refused"), USUAL]


def test_evidence_counts_for_nothing_where_nothing_is_known_yet() -> None:
    assert RiseFall(Check(80)).handle(RESETS, 1) == []
