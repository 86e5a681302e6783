"""Outlier ejection, as a dialogue on a simulated clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from xdplb.desired import Key
from xdplb.health.outlier import Account, Effect, Eject, Outliers, Return, Rules, Suspect


def key(number: int) -> Key:
    return ("web", f"b{number}")


def outliers(count: int = 6, up: Sequence[int] | None = None, **rules: float) -> Outliers:
    made = Outliers(Rules(**rules))  # type: ignore[arg-type]
    assert made.follow(*there(count, up)) == []
    return made


def there(count: int, up: Sequence[int] | None = None) -> tuple[dict[str, tuple[str, ...]], set[Key]]:
    names = tuple(f"b{n}" for n in range(1, count + 1))
    return {"web": names}, {key(n) for n in (range(1, count + 1) if up is None else up)}


def failed(number: int, count: int = 5) -> list[Account]:
    return [Account(key(number), failed=count)]


def ejected(effects: list[Effect]) -> list[Key]:
    return [effect.key for effect in effects if isinstance(effect, Eject)]


def returned(effects: list[Effect]) -> list[Key]:
    return [effect.key for effect in effects if isinstance(effect, Return)]


def interval(made: Outliers, now: float, *accounts: Account) -> list[Effect]:
    """Take this, and see what the end of the interval makes of it."""
    made.take(accounts, now)
    end = made.next_time()
    assert end is not None
    return made.tick(end)


# --- failures in a row --------------------------------------------------------------------------------------


def test_failures_in_a_row_eject_at_once() -> None:
    made = outliers()
    assert made.take(failed(1, 4), 100.0) == [Suspect(key(1), "4 of 4 requests failed (reported by traffic)")]
    assert made.take(failed(1, 3), 100.1) == [
        Suspect(key(1), "3 of 3 requests failed (reported by traffic)"),
        Eject(key(1), 130.1, "ejected for 30 s: 7 errors in a row (reported by traffic)"),
    ]
    assert made.ejected("web") == [key(1)]


def test_a_success_forgives_earlier_failures() -> None:
    made = outliers()
    made.take(failed(1, 4), 100.0)
    assert ejected(made.take([Account(key(1), ok=1, failed=9)], 100.1)) == []
    assert ejected(made.take(failed(1, 4), 100.2)) == []
    assert ejected(made.take(failed(1, 1), 100.3)) == [key(1)]


def test_successes_are_nothing_to_do() -> None:
    assert outliers().take([Account(key(1), ok=100, latency_s=1.0)], 100.0) == []


def test_of_other_services_nobody_is_ejected() -> None:
    made = outliers()
    stranger = ("other", "b1")
    assert made.take([Account(stranger, failed=50)], 100.0) == [
        Suspect(stranger, "50 of 50 requests failed (reported by traffic)")
    ]
    assert made.next_time() is None


# --- its time -----------------------------------------------------------------------------------------------


def test_an_ejected_one_comes_back_and_stays_away_longer_each_time() -> None:
    made, now = outliers(base_s=30, longest_s=100), 100.0
    for for_s in (30, 60, 90, 100, 100):
        (_, eject) = made.take(failed(1), now)
        assert eject == Eject(key(1), now + for_s, f"ejected for {for_s} s: 5 errors in a row (reported by traffic)")
        assert returned(made.tick(now + for_s - 0.01)) == []
        now += for_s
        assert returned(made.tick(now)) == [key(1)]
        assert made.ejected("web") == []


def test_good_intervals_make_the_next_ejection_shorter() -> None:
    made = outliers()
    made.take(failed(1), 100.0)
    made.tick(130.0)
    made.take(failed(1), 130.0)
    made.tick(190.0)
    for n in range(2):
        interval(made, 200.0 + 20 * n, Account(key(1), ok=10))
    assert made.take(failed(1), 300.0)[1] == Eject(
        key(1), 330.0, "ejected for 30 s: 5 errors in a row (reported by traffic)"
    )


def test_failures_before_an_ejection_do_not_count_after_it() -> None:
    made = outliers()
    made.take(failed(1), 100.0)
    made.tick(130.0)
    assert ejected(made.take(failed(1, 4), 131.0)) == []


def test_next_time_is_that_of_the_first_thing_to_do() -> None:
    made = outliers()
    assert made.next_time() is None
    made.take(failed(1), 100.0)
    assert made.next_time() == 110.0  # the interval's end
    made.tick(110.0)
    assert made.next_time() == 130.0  # the ejection's
    made.tick(130.0)
    assert made.next_time() is None


def test_who_is_late_does_both_at_once() -> None:
    made = outliers()
    made.take(failed(1), 100.0)
    assert made.take([Account(key(2), ok=1)], 200.0) == [Return(key(1))]


# --- the cap ------------------------------------------------------------------------------------------------


def test_no_more_than_the_share_is_ejected() -> None:
    made = outliers(6, most_percent=50)
    accounts = [account for n in range(1, 7) for account in failed(n)]
    effects = made.take(accounts, 100.0)
    assert ejected(effects) == [key(1), key(2), key(3)]
    assert len([effect for effect in effects if isinstance(effect, Suspect)]) == 6
    made.tick(130.0)
    assert ejected(made.take(failed(6), 131.0)) == [key(6)]  # there is room again


def test_one_may_always_be_ejected_but_for_the_last_one() -> None:
    assert ejected(outliers(3, most_percent=1).take(failed(1), 100.0)) == [key(1)]
    assert ejected(outliers(1, most_percent=100).take(failed(1), 100.0)) == []
    made = outliers(2, most_percent=100)
    assert ejected(made.take([*failed(1), *failed(2)], 100.0)) == [key(1)]


def test_the_last_one_that_is_up_is_never_ejected() -> None:
    made = outliers(3, up=[1])
    assert ejected(made.take(failed(1), 100.0)) == []
    made = outliers(3, up=[1, 2], most_percent=100)
    assert ejected(made.take([*failed(1), *failed(2)], 100.0)) == [key(1)]


def test_when_the_others_go_down_an_ejected_one_comes_back() -> None:
    made = outliers(3)
    made.take(failed(1), 100.0)
    assert made.follow(*there(3, up=[1, 3])) == []
    assert made.follow(*there(3, up=[1])) == [Return(key(1))]
    made = outliers(3)
    made.take(failed(1), 100.0)
    assert made.follow(*there(3, up=[])) == []  # it would not serve either


def test_who_is_removed_comes_back_and_is_forgotten() -> None:
    made = outliers(3)
    made.take(failed(3), 100.0)
    assert made.follow(*there(2)) == [Return(key(3))]
    assert made.ejected("web") == []
    assert made.follow(*there(3)) == []


# --- those that differ --------------------------------------------------------------------------------------


def rates(*ok: int, of: int = 100) -> list[Account]:
    return [Account(key(n), good, of - good, 0.01 * good) for n, good in enumerate(ok, 1)]


def test_who_fails_more_than_the_others_is_ejected_at_the_intervals_end() -> None:
    effects = interval(outliers(), 100.0, *rates(99, 99, 98, 99, 100, 60))
    cause = "60.0% of requests succeed, 92.5% on the mean of all backends"
    assert effects == [
        Suspect(key(6), f"{cause} (reported by traffic)"),
        Eject(key(6), 140.0, f"ejected for 30 s: {cause} (reported by traffic)"),
    ]


@pytest.mark.parametrize("ok", [(99, 98, 99, 98, 99, 98), (50, 50, 50, 50, 50, 50), (100, 100, 100, 50, 50, 50)])
def test_when_all_are_alike_nobody_is_ejected(ok: tuple[int, ...]) -> None:
    assert interval(outliers(), 100.0, *rates(*ok)) == []


def test_few_requests_or_few_backends_say_nothing() -> None:
    bad = rates(99, 99, 99, 99, 99, 60)
    assert interval(outliers(least_requests=101), 100.0, *bad) == []
    assert interval(outliers(least_backends=7), 100.0, *bad) == []
    idle = [*bad[:5], Account(key(6), 50, 49)]
    assert interval(outliers(), 100.0, *idle) == []


def test_what_several_reports_say_is_summed_over_the_interval() -> None:
    made = outliers()
    for n in range(4):
        made.take(rates(25, 25, 25, 25, 25, 15, of=25), 100.0 + n)
    assert ejected(made.tick(110.0)) == [key(6)]


def test_each_interval_stands_for_itself() -> None:
    made = outliers()
    interval(made, 100.0, *rates(100, 100, 100, 100, 100, 100))
    made.take(rates(25, 25, 25, 25, 25, 15, of=25), 120.0)
    assert made.tick(130.0) == []


def slow(*latencies_s: float, count: int = 100) -> list[Account]:
    return [Account(key(n), count, 0, one * count) for n, one in enumerate(latencies_s, 1)]


def test_who_is_much_slower_than_the_others_is_ejected() -> None:
    effects = interval(outliers(), 100.0, *slow(0.01, 0.01, 0.01, 0.01, 0.01, 0.1))
    assert [effect for effect in effects if isinstance(effect, Eject)] == [
        Eject(
            key(6),
            140.0,
            "ejected for 30 s: 100.0 ms a request, 25.0 ms on the mean of all backends (reported by traffic)",
        )
    ]


@pytest.mark.parametrize("last", [0.011, 0.03, 0.001])
def test_a_little_slower_or_faster_is_no_outlier(last: float) -> None:
    assert interval(outliers(), 100.0, *slow(0.01, 0.01, 0.01, 0.01, 0.01, last)) == []


def test_an_ejected_one_does_not_spoil_the_mean() -> None:
    made = outliers(7)
    made.take([Account(key(7), failed=1000)], 100.0)
    assert interval(made, 101.0, *rates(99, 99, 98, 99, 100, 98)) == []
