"""Pictures of every screen at both sizes, as text. `XDPLB_SNAPSHOTS=write` takes them anew: then look at them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.scenes import press, watch
from xdplb.tui.fake_daemon import FakeDaemon, large, small

FOLDER = Path(__file__).parent / "snapshots"
SIZES = {"80x24": (80, 24), "200x60": (200, 60)}
KEYS = {
    "main": ["down", "down"],
    "events": ["e"],
    "service": ["enter", "down"],
    "backend": ["down", "down", "enter"],
    "reasons": ["v"],
    "guard": ["b", "t"],
    "confirm": ["down", "d"],
    "told": ["down", "d", "y"],
    "weight": ["down", "w", "5", "0"],
    "refused": ["down", "w", "9", "9", "9", "9", "9", "enter"],
    "help": ["?"],
}


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of events are shown as the reader's clock has them."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def make(size: str) -> FakeDaemon:
    daemon = small() if size == "80x24" else large(60)
    daemon.advance(93_784.0)
    daemon.services[0]["backends"][0]["flows_left"] = 120
    daemon.talkers = [{"source": "203.0.113.7", "packets": 12_345, "reason": "dropped_blocked", "service": "web"}]
    daemon.verdicts["dropped_blocked"] = 70
    daemon.tell(kind="reload", who="uid 0", cause="/etc/xdplb.toml")
    daemon.set_state("web", "b2", "down", "tcp 10.0.12.2:80 refused the connection")
    return daemon


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", KEYS)
def test_it_looks_as_it_did(name: str, size: str) -> None:
    daemon = make(size)
    display = watch(daemon, 24)
    shown = press(daemon, display, *KEYS[name], size=SIZES[size]) + "\n"
    file = FOLDER / f"{name}-{size}.txt"
    if os.environ.get("XDPLB_SNAPSHOTS") == "write":
        FOLDER.mkdir(exist_ok=True)
        file.write_text(shown)

    assert shown == file.read_text()
