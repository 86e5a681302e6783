"""Totals and rates of two looks."""

from __future__ import annotations

from xdplb.admin.counters import compare
from xdplb.tables import Traffic

KEY = ("web", "b1")


def test_the_first_look_has_no_rates() -> None:
    found = compare(None, (10.0, {KEY: Traffic(5, 500, 1)}, {"passed_no_service": 3}))
    assert found["interval_s"] is None
    (backend,) = found["backends"]
    assert (backend["service"], backend["backend"], backend["packets"], backend["packets_per_s"]) == (*KEY, 5, None)
    assert found["verdicts"] == {"passed_no_service": {"packets": 3, "per_s": None}}


def test_the_next_one_says_what_came_in_each_second() -> None:
    before = (10.0, {KEY: Traffic(5, 500, 1)}, {"passed_no_service": 3})
    now = (12.0, {KEY: Traffic(9, 1500, 2), ("web", "new"): Traffic(2, 20, 0)}, {"passed_no_service": 4})
    found = compare(before, now)
    one, new = found["backends"]
    assert [one[f"{name}_per_s"] for name in ("packets", "bytes", "connections")] == [2.0, 500.0, 0.5]
    assert (new["backend"], new["packets_per_s"]) == ("new", 1.0)
    assert (found["interval_s"], found["verdicts"]["passed_no_service"]) == (2.0, {"packets": 4, "per_s": 0.5})


def test_what_began_anew_grew_by_what_it_has() -> None:
    (backend,) = compare((1.0, {KEY: Traffic(100, 0, 0)}, {}), (2.0, {KEY: Traffic(3, 0, 0)}, {}))["backends"]
    assert backend["packets_per_s"] == 3.0
