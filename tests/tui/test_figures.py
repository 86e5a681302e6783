"""Numbers keep three digits and at most five characters, whatever their size."""

from __future__ import annotations

import pytest

from xdplb.tui.figures import count, duration, percent, si, sparkline


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (0.04, "0"),
        (0.4, "0.4"),
        (9.94, "9.9"),
        (9.96, "10"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (1_240, "1.24k"),
        (9_996, "10.0k"),
        (99_960, "100k"),
        (999_600, "1.00M"),
        (8.91e9, "8.91G"),
        (1.5e21, "1500E"),
    ],
)
def test_si_has_three_digits_and_a_prefix(value: float | None, shown: str) -> None:
    assert si(value) == shown


def test_si_never_needs_more_than_five_characters() -> None:
    assert max(len(si(m * 10.0**e)) for m in (1, 9.949, 9.951, 9.9949, 9.9951, 9.99951) for e in range(-3, 21)) <= 5


def test_few_things_are_counted_exactly() -> None:
    assert [count(n) for n in (0, 7, 9_999, 10_000)] == ["0", "7", "9999", "10.0k"]


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "-"),
        (0.0, "0%"),
        (0.001, "0.10%"),
        (0.0333, "3.33%"),
        (0.09996, "10.0%"),
        (1 / 3, "33.3%"),
        (0.99996, "100%"),
        (1.0, "100%"),
    ],
)
def test_shares_are_percentages(share: float | None, shown: str) -> None:
    assert percent(share) == shown


def test_times_have_their_two_largest_units() -> None:
    seconds = (-1, 59.9, 61, 3_600 + 120, 3 * 86_400 + 4 * 3_600 + 5)
    assert [duration(s) for s in seconds] == ["0 s", "59 s", "1 min 1 s", "1 h 2 min", "3 d 4 h"]


def test_a_sparkline_goes_from_zero_to_its_largest_sample_and_ends_with_the_newest() -> None:
    assert sparkline([0, 50, 100], 5) == "  ▁▄▇"
    assert sparkline([100, 0, 100, 0], 2) == "▇▁"
    assert sparkline([0, 0], 2) == "▁▁"
    assert sparkline([], 3) == "   "
