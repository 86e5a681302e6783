"""A plan says to the slot and to the entry what then happens, whatever is changed."""

from __future__ import annotations

from tools.plan_check import check


def test_random_changes_come_to_what_was_predicted() -> None:
    kinds = set[str]()
    for said, came in check(100, seed=2):
        assert said == came
        kinds |= {name for name in ("in", "out", "writes") if came[name]}
        kinds |= {"moved"} if any(came["moved"].values()) else set()
    assert kinds == {"in", "out", "writes", "moved"}
