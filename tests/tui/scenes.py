"""What tests of the screen have in common: a fake daemon, somebody who watched it, and frames as text."""

from __future__ import annotations

from xdplb.tui.display import Display
from xdplb.tui.fake_daemon import FakeDaemon
from xdplb.tui.listing import list_all
from xdplb.tui.rates import Meter, Rates, Status
from xdplb.tui.render import Frame, render
from xdplb.tui.scene import Scene
from xdplb.tui.view import View
from xdplb.tui.workers import ask


def scene(status: Status, rates: Rates, view: View, age_s: float = 0.0, gone: bool = False) -> Scene:
    """Return a scene without events and questions."""
    return Scene(status, rates, view, list_all(status, rates, view), age_s=age_s, gone=gone)


def draw(
    status: Status, rates: Rates, view: View, width: int, height: int, age_s: float = 0.0, gone: bool = False
) -> Frame:
    """Return the frame of such a scene."""
    return render(scene(status, rates, view, age_s, gone), width, height)


def first(daemon: FakeDaemon) -> Scene:
    """Return what a screen shows of a daemon that was watched for a second."""
    meter = Meter()
    meter.take(daemon.status())
    daemon.advance(1.0)
    status = daemon.status()
    return scene(status, meter.take(status), View())


def watch(daemon: FakeDaemon, seconds: int = 3) -> Display:
    """Return a screen that watched a daemon, one answer a second."""
    display = Display(daemon.status(), 0.0, patience_s=3.0)
    for _ in range(seconds):
        daemon.advance(1.0)
        refresh(daemon, display)
    return display


def refresh(daemon: FakeDaemon, display: Display) -> None:
    """Let the screen hear what the daemon says now."""
    display.answer(daemon.status(), daemon.uptime_s)
    for event in daemon.events(after=display.journal.last):
        display.happen(event)


def press(daemon: FakeDaemon, display: Display, *keys: str, size: tuple[int, int] = (80, 24)) -> str:
    """Press keys one by one, each after a look at the screen, with the daemon answering; return what is seen then."""
    for key in keys:
        display.frame(*size, display.answered_at)
        for question in display.press([key]):
            try:
                display.take(question, ask(daemon, question))
            except Exception as error:
                display.take(question, error)
        daemon.advance(1.0)
        refresh(daemon, display)
    return seen(display, size)


def seen(display: Display, size: tuple[int, int] = (80, 24)) -> str:
    """Return the frame as text, without spaces at the ends of lines."""
    return text(display.frame(*size, display.answered_at))


def text(frame: Frame) -> str:
    """Return a frame's text, without spaces at the ends of lines."""
    return "\n".join(one.plain.rstrip() for one in frame.lines)
