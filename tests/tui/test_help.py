"""Every key that does something is told, on the screen and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from tests.tui.scenes import press, watch
from xdplb.tui.display import Display
from xdplb.tui.fake_daemon import small
from xdplb.tui.help import KEYS, help_lines
from xdplb.tui.player import Player

DOCS = Path(__file__).resolve().parents[2] / "docs" / "top.md"
LETTERS = [chr(code) for code in range(33, 127)]


def does_something(key: str, *before: str) -> bool:
    """Return whether a key changes what is seen, or asks something."""
    daemon = small()
    display = watch(daemon)
    press(daemon, display, *before)
    view, dialog, sources = display.view, display.dialog, display.sources
    asked = display.press([key])
    return bool(asked) or (display.view, display.dialog, display.sources) != (view, dialog, sources)


def test_every_letter_that_does_something_is_told() -> None:
    told = {key for keys, _ in KEYS for key in keys.replace(",", " ").split() if len(key) == 1} | {"/"}
    living = {
        key for key in LETTERS if does_something(key, "down") or does_something(key, "G") or does_something(key, "b")
    }

    assert living == told - {"+", "-"}
    assert {"+", "-"} < Player.KEYS


def test_the_documentation_has_the_same_table() -> None:
    table = re.findall(r"^\| `([^`]+)` \| (.+) \|$", DOCS.read_text(), re.M)

    assert table == KEYS


def test_it_can_all_be_read_on_the_smallest_terminal() -> None:
    daemon = small()
    display = watch(daemon)
    seen = press(daemon, display, "?") + press(daemon, display, "page_down") + press(daemon, display, "page_down")

    assert all(one.rstrip() in seen for one in help_lines(80))
    assert all(len(one) <= 80 for one in help_lines(80))
    assert isinstance(display, Display)
