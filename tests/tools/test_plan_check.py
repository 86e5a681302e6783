"""A plan says to the slot and to the entry what then happens, whatever is changed."""

from __future__ import annotations

import pytest

from tools.plan_check import check


@pytest.mark.parametrize("seed", [1, 2])
def test_random_changes_come_to_what_was_predicted(seed: int) -> None:
    kinds = set[str]()
    for said, came in check(50, seed):
        assert said == came
        kinds |= {name for name in ("anew", "in", "out", "writes") if came[name]}
        kinds |= {"moved"} if any(came["moved"].values()) else set()
    assert kinds >= {"in", "out", "writes", "moved"}
