"""The loop of `xdplb top`: hear what the workers learnt, read keys, paint. Nothing is decided here."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from xdplb.errors import DaemonError, XdplbError
from xdplb.tui.display import Display
from xdplb.tui.keys import Decoder
from xdplb.tui.player import Player
from xdplb.tui.recording import Recorder, Recording
from xdplb.tui.terminal import Terminal, check_terminal, opened, size_of
from xdplb.tui.workers import Balancer, Workers

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_TICK_S = 0.25  # how often a playing recording is painted


def run(balancer: Balancer, interval_s: float = 1.0, seconds: float | None = None, record: Path | None = None) -> None:
    """Show the live screen until q, Ctrl-C or SIGTERM, or for so many seconds. Call it in the main thread.

    A daemon that cannot be reached at first ends `run` with DaemonError; later the screen says so and goes on asking.
    `record` names a file to write all that is heard to. Raises XdplbError when stdout or stdin is no terminal.
    """
    check_terminal()
    try:
        display = Display(balancer.status(), time.monotonic(), patience_s=max(3.0, 3 * interval_s))
        recorder = Recorder(record) if record else None
        try:
            _run_live(balancer, display, interval_s, seconds, recorder)
        finally:
            if recorder:
                recorder.close()
    except KeyboardInterrupt:  # before the terminal was taken, or after it was given back
        return


def _run_live(
    balancer: Balancer, display: Display, interval_s: float, seconds: float | None, recorder: Recorder | None
) -> None:
    with opened() as terminal:
        workers = Workers(balancer, interval_s, terminal.wake)

        def turn(keys: list[str]) -> bool:
            for question in display.press(keys):
                workers.ask(question)
            _hear(workers, display, recorder)
            terminal.paint(display.frame(*terminal.size(), time.monotonic()))
            return not display.view.quit

        if recorder:
            recorder.write("status", display.status, time.monotonic())
        try:
            _loop(terminal, turn, interval_s + 0.5, seconds)  # an answer is due before; if not, the age grows
        finally:
            workers.stop()


def replay(recording: Recording, seconds: float | None = None) -> None:
    """Show a recording, until q or for so many seconds."""
    check_terminal()
    player, last = Player.begin(recording), time.monotonic()
    with opened() as terminal:

        def turn(keys: list[str]) -> bool:
            nonlocal last
            now = time.monotonic()
            player.press(keys)
            player.advance(now - last)
            last = now
            terminal.paint(player.display.frame(*terminal.size(), player.at))
            return not player.display.view.quit

        _loop(terminal, turn, _TICK_S, seconds)


def _loop(terminal: Terminal, turn: Callable[[list[str]], bool], wait_s: float, seconds: float | None) -> None:
    """Take a turn after everything that happens, and when nothing does."""
    decoder, keys = Decoder(), list[str]()
    ends_at = None if seconds is None else time.monotonic() + seconds
    while turn(keys):
        left_s = wait_s if ends_at is None else min(wait_s, ends_at - time.monotonic())
        if left_s <= 0:
            return
        typed, signals = terminal.wait(left_s)
        if _ENDING & set(signals):
            return
        if signal.SIGTSTP in signals:
            terminal.suspend()
        if signal.SIGWINCH in signals:
            terminal.forget()
        keys = _keys(terminal, decoder, typed)


def _keys(terminal: Terminal, decoder: Decoder, typed: bytes) -> list[str]:
    """Return the keys that were typed."""
    keys = decoder.feed(typed)
    if decoder.waiting and not terminal.key_goes_on():
        keys += decoder.flush()
    if "ctrl_l" in keys:
        terminal.forget()
    return keys


def _hear(workers: Workers, display: Display, recorder: Recorder | None) -> None:
    """Pass on what was said since. A bug in a worker ends the screen, loudly."""
    while not workers.heard.empty():
        kind, question, said = workers.heard.get()
        now = time.monotonic()
        if isinstance(said, Exception) and not isinstance(said, XdplbError if kind == "answer" else DaemonError):
            raise said
        if recorder and kind != "answer" and not isinstance(said, Exception):
            recorder.write(kind, said, now)
        if kind == "answer":
            display.take(question, said)
        elif kind == "event":
            display.happen(said)
        elif isinstance(said, DaemonError):
            display.refuse()
        else:
            display.answer(said, now)


def once(balancer: Balancer, interval_s: float, size: tuple[int, int] | None) -> None:
    """Print one frame: two answers are needed to know rates. Raises DaemonError."""
    display = Display(balancer.status(), 0.0, patience_s=float("inf"))
    for event in balancer.events():
        display.happen(event)
    time.sleep(interval_s)
    display.answer(balancer.status(), 0.0)
    _print(display, 0.0, size)


def once_recorded(recording: Recording, size: tuple[int, int] | None) -> None:
    """Print what a recording ends with."""
    player = Player.begin(recording)
    player.seek(recording.length_s)
    _print(player.display, player.at, size)


def _print(display: Display, at: float, size: tuple[int, int] | None) -> None:
    width, height = size or size_of(sys.stdout)
    Console(file=sys.stdout, width=width, height=height).print(display.frame(width, height, at), soft_wrap=True)
