"""Findings in order, and the exit status."""

from __future__ import annotations

from xdplb.doctor.finding import CHECKS, Finding, Severity, exit_status, few, in_order

NOTICE, WARNING, ERROR = Finding("rps", "n"), Finding("queues-few", "w"), Finding("lro", "e")


def test_the_worst_comes_first() -> None:
    assert in_order([NOTICE, WARNING, ERROR]) == [ERROR, WARNING, NOTICE]
    assert [str(f.severity) for f in (ERROR, WARNING, NOTICE)] == ["error", "warning", "notice"]
    assert ERROR.why == CHECKS["lro"][1]


def test_exit_status_is_by_severity_and_never_that_of_wrong_usage() -> None:
    assert [exit_status(f) for f in ([], [NOTICE], [NOTICE, WARNING], [WARNING, ERROR])] == [0, 0, 1, 3]


def test_many_names_are_told_in_few_words() -> None:
    assert few(["a", "b", "c"]) == "a, b, c"
    assert few(range(40)) == "0, 1, 2 and 37 more"


def test_the_catalogue_is_sorted_by_severity_within_a_theme_and_says_why() -> None:
    assert all((why and why[0].islower()) or why.startswith(("XDP", "VIP")) for _, why in CHECKS.values())
    assert {severity for severity, _ in CHECKS.values()} == set(Severity)
