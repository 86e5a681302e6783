"""Answers and keys go in, frames come out."""

from __future__ import annotations

import pytest

from tests.tui.scenes import press
from xdplb.errors import DaemonError
from xdplb.tui.display import Display
from xdplb.tui.fake_daemon import FakeDaemon, small


@pytest.fixture
def daemon() -> FakeDaemon:
    """Three backends."""
    return small()


@pytest.fixture
def display(daemon: FakeDaemon) -> Display:
    """A screen with one answer, as of second 100 of its clock."""
    return Display(daemon.status(), answered_at=100.0, patience_s=3.0)


def shown(display: Display, at: float) -> str:
    return "\n".join(one.plain for one in display.frame(80, 24, at).lines)


def test_rates_appear_with_the_second_answer(daemon: FakeDaemon, display: Display) -> None:
    assert "- pkt/s" in shown(display, 100.0)

    daemon.advance(1.0)
    display.answer(daemon.status(), 101.0)
    assert "M pkt/s" in shown(display, 101.0)


def test_a_daemon_is_gone_when_it_refuses_and_back_when_it_answers(daemon: FakeDaemon, display: Display) -> None:
    display.refuse()
    assert "no answer from the daemon for 1 s" in shown(display, 101.0)
    assert "no answer from the daemon for 9 s" in shown(display, 109.0)

    daemon.advance(10.0)
    display.answer(daemon.status(), 110.0)
    assert "no answer" not in shown(display, 110.0)


def test_a_daemon_that_hangs_is_gone_after_a_while(display: Display) -> None:
    assert "no answer" not in shown(display, 103.0)
    assert "no answer from the daemon for 4 s" in shown(display, 104.0)


def test_a_paused_screen_stands_still_but_measures_on(daemon: FakeDaemon, display: Display) -> None:
    display.press(["p"])
    for second in range(1, 5):
        daemon.advance(1.0)
        display.answer(daemon.status(), 100.0 + second)
    assert "running 0 s" in shown(display, 104.0)
    assert "- pkt/s" in shown(display, 104.0)
    display.press(["s"])
    assert "sorted by state" in shown(display, 104.0)
    assert "running 0 s" in shown(display, 104.0)

    display.press(["p"])
    assert "running 4 s" in shown(display, 104.0)
    assert "M pkt/s" in shown(display, 104.0)


def test_scrolling_is_bounded_by_what_the_last_frame_had(display: Display) -> None:
    display.frame(80, 8, 100.0)  # less than four rows
    display.press(["G", "down", "down"])

    assert display.view.place.cursor == 3
    display.frame(80, 24, 100.0)
    assert display.view.place.top == 0


def test_a_paused_screen_does_not_draw_on(daemon: FakeDaemon, display: Display) -> None:
    daemon.advance(1.0)
    display.answer(daemon.status(), 101.0)
    display.press(["p"])
    before = shown(display, 101.0)
    daemon.advance(1.0)
    display.answer(daemon.status(), 102.0)

    assert shown(display, 101.0).splitlines()[4:] == before.splitlines()[4:]


def test_who_drains_the_last_one_is_warned(daemon: FakeDaemon, display: Display) -> None:
    assert "no other backend" not in press(daemon, display, "down", "d")
    for name in ("b2", "b3"):
        daemon.set_state("web", name, "down", "refused")
    press(daemon, display, "n", "x")

    assert "no other backend of this service serves" in press(daemon, display, "d")
    assert "no other backend" not in press(daemon, display, "n", "u")


def test_an_order_needs_a_backend(daemon: FakeDaemon, display: Display) -> None:
    assert "choose a backend first, with the arrows" in press(daemon, display, "d")
    assert "choose" not in press(daemon, display, "escape")


def test_who_may_only_look_is_told_so(daemon: FakeDaemon, display: Display) -> None:
    daemon.read_only = True
    seen = press(daemon, display, "down", "d")

    assert "your role is read: it changes nothing" in seen
    assert "READ ONLY" in seen
    daemon.read_only = False
    assert "READ ONLY" not in press(daemon, display, "d")


def test_events_that_do_not_come_say_why(display: Display) -> None:
    display.happen(DaemonError("the daemon has ended"))

    assert "no events: the daemon has ended" in shown(display, 100.0)
