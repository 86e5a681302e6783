"""What is expected is found, in texts and in bytes, and no answer keeps the search busy."""

from __future__ import annotations

import time

import pytest

from xdplb.health.expect import found
from xdplb.health.probe import ProbeFailed


def test_it_is_found_anywhere_in_texts_and_in_bytes() -> None:
    assert found("p.ng", "a pong")
    assert found("p.ng", b"\x00pong\xff")
    assert found("é", "é".encode())
    assert not found("^pong$", "a pong")
    assert not found("^pong$", b"a pong")


def test_it_means_what_it_means_to_python() -> None:
    assert found(r"^[a-z[:]+$", "a[:")  # no sets in sets
    assert not found("(?i)straße", "STRASSE")


@pytest.mark.parametrize("where", ["a" * 60 + "!", b"a" * 60 + b"!"])
def test_a_search_that_takes_too_long_is_given_up(where: str | bytes) -> None:
    began = time.monotonic()
    with pytest.raises(ProbeFailed, match="takes more than 50 ms on this answer: make it simpler"):
        found(r"^(\w|\w\w)+$", where)
    assert time.monotonic() - began < 5
