"""A recording is played, stopped, sought in, at any speed, and looked at with the keys of the live screen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.scenes import text
from xdplb.tui.fake_daemon import small
from xdplb.tui.player import Player
from xdplb.tui.recording import Recorder, Recording


@pytest.fixture
def player(tmp_path: Path) -> Player:
    """Forty seconds; after twenty of them b2 goes down."""
    daemon, recorder = small(), Recorder(tmp_path / "day")
    for second in range(41):
        if second == 20:
            daemon.set_state("web", "b2", "down", "refused")
            recorder.write("event", daemon.happened[-1], float(second))
        recorder.write("status", daemon.status(), float(second))
        daemon.advance(1.0)
    recorder.close()
    return Player.begin(Recording(tmp_path / "day"))


def seen(player: Player) -> str:
    return text(player.display.frame(80, 24, player.at))


def test_it_plays_to_its_end(player: Player) -> None:
    assert "3 up" in seen(player)
    player.advance(19.5)
    assert "recording 19 s of 40 s, 1x" in seen(player)
    assert "3 up" in seen(player)
    player.advance(1.0)
    assert "1 down" in seen(player)
    assert "web/b2 up → down: refused" in seen(player)
    player.advance(99.0)
    assert "recording 40 s of 40 s, end" in seen(player)


def test_it_stands_still_and_has_speeds(player: Player) -> None:
    player.press([" "])
    player.advance(5.0)
    assert "recording 0 s of 40 s, still" in seen(player)
    player.press([" ", "+", "+"])
    player.advance(2.0)
    assert "recording 10 s of 40 s, 5x" in seen(player)
    player.press(["-"] * 20)
    player.advance(10.0)
    assert "recording 11 s of 40 s, 0.1x" in seen(player)


def test_arrows_seek_and_know_the_rates_there(player: Player) -> None:
    player.press(["right", "right", "right"])
    assert "recording 30 s" in seen(player)
    assert "1 down" in seen(player)
    assert "M pkt/s" in seen(player)
    player.press(["left", "left"])
    assert "recording 10 s" in seen(player)
    assert "3 up" in seen(player)
    assert "down" not in seen(player).splitlines()[-4]  # it has not happened yet
    player.press(["left", "left"])
    assert "recording 0 s" in seen(player)


def test_other_keys_are_those_of_the_live_screen_but_nothing_is_ordered(player: Player) -> None:
    seen(player)
    player.press(["down", "enter"])
    assert "web/b1  up" in seen(player)
    player.press(["d"])
    assert "this is a recording: nobody takes orders" in seen(player)
    player.press(["b"])
    player.press(["t"])
    assert "a recording does not tell who sent" in seen(player)
    player.press(["escape", "escape", "/"])
    player.press([" ", "+"])
    assert player.display.view.filter == " +"
    assert not player.still
