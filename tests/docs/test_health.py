"""The numbers and words of docs/health.md are those of the code; tests/health/test_simulated.py proves its promises."""

from __future__ import annotations

import re
from pathlib import Path

from xdplb.desired import Health
from xdplb.health.check import (
    CALM_S,
    FLAP_HOLDS,
    FLAP_INTERVALS,
    FLAP_S,
    SUSPECT_S,
    Evidence,
    Memory,
    ProbeEnded,
    Result,
    RiseFall,
    Start,
)
from xdplb.health.combine import combine
from xdplb.health.watch import JITTER
from xdplb.model import Check

TEXT = (Path(__file__).resolve().parents[2] / "docs/health.md").read_text()
REFUSED = "tcp 10.0.11.2:80: refused"


def test_numbers_are_those_of_the_code() -> None:
    assert f"more of them {SUSPECT_S * 1000:g} ms apart" in TEXT
    assert f"counts no more for {CALM_S:g} s" in TEXT
    assert f"within {FLAP_S:g} s of coming up" in TEXT
    assert (FLAP_INTERVALS, FLAP_HOLDS) == (10, 2)
    assert "Ten intervals or twice the last hold time" in TEXT
    assert f"each ± {100 * JITTER:g} %" in TEXT
    check = Check(80)
    slowest = (1 + JITTER) * check.interval_s * (1 + (check.fall - 1) / 2) + check.timeout_s
    assert f"by default, {slowest:g} s" in TEXT


def test_causes_are_told_as_they_are_shown() -> None:
    check = RiseFall(Check(80, fall=1, rise=1))
    check.handle(Start(Memory(True, "", 0.0)), 0)
    for now, passed in ((100, False), (110, True), (120, False), (130, True), (140, True), (160, False)):
        check.handle(ProbeEnded(passed, REFUSED), now)
    check.handle(ProbeEnded(True, ""), 161)
    assert f"> {check.result.cause}\n" in TEXT

    suspect = RiseFall(Check(80, fall=1))
    suspect.handle(Start(Memory(True, "", 0.0)), 0)
    suspect.handle(Evidence("4 clients were reset"), 1)
    suspect.handle(ProbeEnded(False, REFUSED), 1)
    assert f"`{suspect.result.cause}`" in TEXT

    found = combine([[Result(False, REFUSED)], [Result(True, "")], [Result(False, "")]], needed=2)
    assert found == Health(False, found.cause)
    assert f"`{found.cause}`" in TEXT


def test_promises_are_those_that_are_simulated() -> None:
    simulated = (Path(__file__).resolve().parents[1] / "health/test_simulated.py").read_text()
    assert re.search(r"flapping_at_one_hertz_for_ten_minutes_changes_a_backend_at_most_14_times", simulated)
    assert "for ten minutes changes at most 14 times" in TEXT
    assert "who_goes_on_changes_twice_in_five_minutes" in simulated
    assert "at most twice in five minutes" in TEXT
    assert "at_most_four_times_a_minute" in simulated
    assert "more than four times a minute" in TEXT
