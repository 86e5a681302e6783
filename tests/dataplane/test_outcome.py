"""A run's changes, word by word."""

from __future__ import annotations

from xdplb.dataplane.outcome import Changed


def test_words_that_changed_are_told_with_their_place() -> None:
    before, after = bytes(24), bytes(8) + (7).to_bytes(8, "little") + bytes(8)

    assert Changed(3, before, after).words == [(1, 0, 7)]
    assert Changed(3, before, before).words == []
