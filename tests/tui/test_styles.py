"""Colours are the terminal's own, so that every frame can be read on light and on dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tui.scenes import press, watch
from xdplb.model import State
from xdplb.tui import styles
from xdplb.tui.fake_daemon import large, small
from xdplb.tui.styles import STATES, of_state

# No white or black: one of them is the background. No blue: unreadable on a dark one. No number, no RGB.
WORDS = {"bold", "dim", "reverse", "underline", "red", "green", "yellow", "cyan"}


def test_every_state_has_a_colour_and_unknown_ones_have_none() -> None:
    assert set(STATES) == set(State)
    assert of_state("up") == "green"
    assert of_state("asleep") == of_state(None) == ""


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_frames_have_no_colour_of_their_own(size: tuple[int, int]) -> None:
    daemon = small() if size[0] == 80 else large(60)
    daemon.set_state("web", "b2", "down", "refused")
    daemon.warnings.append("the MTU is small")
    daemon.verdicts["dropped_no_backend"] = 5
    display = watch(daemon)
    found = set()
    for keys in (["down", "d"], ["n", "e"], ["escape", "v"], ["b"], ["?"], ["escape", "escape", "escape", "enter"]):
        press(daemon, display, *keys, size=size)
        frame = display.frame(*size, 0.0)
        found |= {word for one in frame.lines for span in one.spans for word in str(span.style).split()}

    assert found <= WORDS
    assert {"bold", "reverse", "red", "green"} <= found


def test_styles_have_one_home() -> None:
    for path in Path(styles.__file__).parent.glob("*.py"):
        if path.name != "styles.py":
            assert not re.search(r'"(?:bold )?(?:red|green|yellow|cyan|blue|white|black|magenta)"', path.read_text()), (
                path
            )
