"""Rise and fall as a dialogue."""

from __future__ import annotations

from xdplb.health.check import Probe, ProbeEnded, Report, RiseFall, Start

PASS, FAIL = ProbeEnded(True, "connected"), ProbeEnded(False, "refused")
USUAL, FAST = Probe(2.0), Probe(1.0)


def test_first_result_decides_at_once() -> None:
    for first in (PASS, FAIL):
        check = RiseFall(interval_s=2, rise=2, fall=3)
        assert check.handle(Start()) == [Probe(0)]
        assert check.handle(first) == [Report(first.passed, first.cause), USUAL]


def test_it_takes_fall_failures_in_a_row_to_go_down() -> None:
    check = RiseFall(interval_s=2, rise=2, fall=3)
    check.handle(Start(up=True))

    assert check.handle(PASS) == [USUAL]
    assert check.handle(FAIL) == [FAST]
    assert check.handle(FAIL) == [FAST]
    assert check.handle(PASS) == [USUAL]  # a pass forgives earlier failures
    assert check.handle(FAIL) == [FAST]
    assert check.handle(FAIL) == [FAST]
    assert check.handle(FAIL) == [Report(False, "refused"), USUAL]


def test_it_takes_rise_passes_in_a_row_to_come_up() -> None:
    check = RiseFall(interval_s=2, rise=2, fall=3)
    check.handle(Start(up=False))

    assert check.handle(PASS) == [FAST]
    assert check.handle(FAIL) == [USUAL]
    assert check.handle(PASS) == [FAST]
    assert check.handle(PASS) == [Report(True, "connected"), USUAL]


def test_what_was_known_before_a_restart_needs_as_many_results_to_change() -> None:
    check = RiseFall(interval_s=2, rise=1, fall=2)
    check.handle(Start(up=True))
    assert check.handle(FAIL) == [FAST]
    assert check.handle(FAIL) == [Report(False, "refused"), USUAL]
