"""The loop of `xdplb top`: ask the daemon, read keys, paint. Nothing is decided here."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from xdplb.errors import DaemonError
from xdplb.tui.display import Display
from xdplb.tui.keys import Decoder
from xdplb.tui.rates import Status
from xdplb.tui.terminal import Terminal, check_terminal, opened

_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Asker:
    """Asks the daemon once per interval, in its own thread: a daemon that hangs must not stop the keys."""

    def __init__(self, fetch: Callable[[], Status], interval_s: float, wake: Callable[[], None]) -> None:
        self.answers: SimpleQueue[Status | Exception] = SimpleQueue()
        self._fetch, self._interval_s, self._wake = fetch, interval_s, wake
        self._stopped, self._waking = threading.Event(), threading.Lock()
        threading.Thread(target=self._ask, name="xdplb-top-asker", daemon=True).start()

    def stop(self) -> None:
        """Ask no more; once this returns, `wake` is not called again."""
        with self._waking:
            self._stopped.set()

    def _ask(self) -> None:
        due = time.monotonic() + self._interval_s
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._interval_s, time.monotonic())
            try:
                self.answers.put(self._fetch())
            except Exception as error:
                self.answers.put(error)
            with self._waking:
                if not self._stopped.is_set():
                    self._wake()


def run(fetch: Callable[[], Status], interval_s: float = 1.0, seconds: float | None = None) -> None:
    """Show the live screen until q, Ctrl-C or SIGTERM, or for so many seconds. Call it in the main thread.

    `fetch` returns the status, and raises DaemonError when the daemon cannot be reached: at first that ends
    `run`, later the screen says so and goes on asking. Raises XdplbError when stdout or stdin is no terminal.
    """
    check_terminal()
    ends_at = None if seconds is None else time.monotonic() + seconds
    try:
        first = fetch()
        display = Display(first, time.monotonic(), patience_s=max(3.0, 3 * interval_s))
        with opened() as terminal:
            asker = Asker(fetch, interval_s, terminal.wake)
            try:
                _show(terminal, asker, display, interval_s, ends_at)
            finally:
                asker.stop()
    except KeyboardInterrupt:  # before the terminal was taken, or after it was given back
        return


def _show(terminal: Terminal, asker: Asker, display: Display, interval_s: float, ends_at: float | None) -> None:
    """Paint after everything that happens; and, so that the age grows, when nothing does."""
    decoder = Decoder()
    while not display.view.quit:
        now = time.monotonic()
        if ends_at is not None and now >= ends_at:
            return
        terminal.paint(display.frame(*terminal.size(), now))
        timeout_s = interval_s + 0.5  # an answer is due before
        typed, signals = terminal.wait(timeout_s if ends_at is None else min(timeout_s, ends_at - now))
        if _ENDING & set(signals):
            return
        if signal.SIGTSTP in signals:
            terminal.suspend()
        if signal.SIGWINCH in signals:
            terminal.forget()
        display.press(_keys(terminal, decoder, typed))
        _take_answers(asker, display)


def _keys(terminal: Terminal, decoder: Decoder, typed: bytes) -> list[str]:
    """Return the keys that were typed."""
    keys = decoder.feed(typed)
    if decoder.waiting and not terminal.key_goes_on():
        keys += decoder.flush()
    if "ctrl_l" in keys:
        terminal.forget()
    return keys


def _take_answers(asker: Asker, display: Display) -> None:
    """Pass on what the daemon said since."""
    while not asker.answers.empty():
        answer = asker.answers.get()
        if isinstance(answer, DaemonError):
            display.refuse()
        elif isinstance(answer, Exception):
            raise answer
        else:
            display.answer(answer, time.monotonic())
