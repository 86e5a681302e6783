"""Counters become rates, and slots that moved settle again."""

from __future__ import annotations

from xdplb.tui.trends import HISTORY, Settling, Trends, per_second


def test_a_rate_needs_two_counts_and_time() -> None:
    assert per_second(10, 30, 2.0) == 10
    assert per_second(None, 30, 2.0) is per_second(10, None, 2.0) is per_second(10, 30, 0.0) is None
    assert per_second(30, 10, 2.0) is None


def test_what_is_not_known_is_not_in_the_history() -> None:
    trends = Trends()
    assert trends.take({"a": 10, "b": None}, 0.0) == {"a": None, "b": None}
    assert trends.take({"a": 30, "b": None}, 2.0) == {"a": 10, "b": None}
    assert trends.take({"a": 5}, 1.0) == {"a": None}
    assert trends.take({"a": 6}, 1.0) == {"a": 1}

    assert list(trends.histories["a"]) == [10, 1]


def test_history_ends() -> None:
    trends = Trends()
    for second in range(HISTORY + 5):
        trends.take({"a": second}, 1.0)

    assert len(trends.histories["a"]) == HISTORY


def test_settling_is_counted_from_the_most_that_were_under_way() -> None:
    settling = Settling()

    assert settling.take({"web": 0}) == {}
    assert settling.take({"web": 200}) == {"web": 0}
    assert settling.take({"web": 400}) == {"web": 0}
    assert settling.take({"web": 100}) == {"web": 0.75}
    assert settling.take({"web": 0}) == {}
    assert settling.take({"web": 100}) == {"web": 0}
