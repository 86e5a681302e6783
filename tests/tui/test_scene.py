"""A scene needs no more than an answer of the daemon."""

from __future__ import annotations

from tests.tui.scenes import first
from xdplb.tui.fake_daemon import small
from xdplb.tui.order import Step


def test_nothing_has_happened_yet() -> None:
    scene = first(small())

    assert not scene.journal.events
    assert scene.dialog.step is Step.NONE
    assert scene.sources.found is None
    assert not scene.playback
