"""The terminal: taken, painted, and always given back as it was.

Signals do not interrupt anything. They arrive as bytes in a pipe, beside the keys, so that there is one
place where things are waited for and no place where a Ctrl-C leaves half a frame.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.console import Console, RenderableType

from xdplb.errors import XdplbError

# DEC private modes (xterm's ctlseqs): 1049 alternate screen, 25 cursor, 2026 synchronized output.
_TAKE = b"\x1b[?1049h\x1b[?25l"
_GIVE_BACK = b"\x1b[0m\x1b[?25h\x1b[?1049l"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH, signal.SIGTSTP)
_KEY_FOLLOWS_S = 0.05  # an escape sequence that was cut on its way goes on within this time


class Terminal:
    """A terminal that was taken; `opened` makes one."""

    def __init__(self, pipe: tuple[int, int]) -> None:
        self.input, self.output = sys.stdin.fileno(), sys.stdout.fileno()
        self.console = Console(file=sys.stdout)
        self._wake_from, self._wake_to = pipe
        self._settings = termios.tcgetattr(self.input)
        self._painted: list[str] = []

    def take(self) -> None:
        """Read keys one by one, unseen, and draw on the alternate screen."""
        tty.setcbreak(self.input, termios.TCSADRAIN)
        self._write(_TAKE)
        self.forget()

    def give_back(self) -> None:
        """Undo `take`. A terminal that is gone needs nothing."""
        self._write(_GIVE_BACK)
        with suppress(termios.error):
            termios.tcsetattr(self.input, termios.TCSADRAIN, self._settings)

    def suspend(self) -> None:
        """Give the terminal back and stop, as Ctrl-Z asks; take it again when the shell says so."""
        self.give_back()
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, ours)
        self.take()

    def size(self) -> tuple[int, int]:
        """Return width and height now."""
        return size_of(sys.stdout)

    def forget(self) -> None:
        """Clear the screen; the next frame is painted whole."""
        self._painted = []
        self._write(b"\x1b[H\x1b[2J")

    def paint(self, frame: RenderableType) -> None:
        """Show a frame: write the lines that differ from those of the frame before."""
        with self.console.capture() as capture:
            self.console.print(frame, soft_wrap=True)
        lines = capture.get().split("\n")[:-1]
        before = self._painted + [""] * (len(lines) - len(self._painted))
        # Cleared before it is written: clearing after a full line would take its last character.
        changes = [
            f"\x1b[{number};1H\x1b[2K{new}"
            for number, (new, old) in enumerate(zip(lines, before, strict=False), 1)
            if new != old
        ]
        if changes:
            encoding = self.console.encoding
            self._write(f"\x1b[?2026h{''.join(changes)}\x1b[?2026l".encode(encoding, "replace"))
        self._painted = lines

    def wait(self, timeout_s: float) -> tuple[bytes, bytes]:
        """Wait for something; return what was typed, and the numbers of signals (0: `wake` was called)."""
        ready, _, _ = select.select([self.input, self._wake_from], [], [], max(0.0, timeout_s))
        signals = os.read(self._wake_from, 1024) if self._wake_from in ready else b""
        if self.input not in ready:
            return b"", signals
        try:
            typed = os.read(self.input, 1024)
        except OSError:  # EIO: in the background, and nobody is left to bring us back
            typed = b""
        return typed, signals if typed else signals + bytes([signal.SIGHUP])

    def key_goes_on(self) -> bool:
        """Return whether more is typed within the time that a cut escape sequence may take."""
        return bool(select.select([self.input], [], [], _KEY_FOLLOWS_S)[0])

    def wake(self) -> None:
        """Make `wait` return, from any thread."""
        with suppress(BlockingIOError):  # full: it will wake anyway
            os.write(self._wake_to, b"\0")

    def _write(self, output: bytes) -> None:
        """Write all of it; where the terminal hung up, `wait` will tell."""
        with suppress(OSError):
            while output:
                output = output[os.write(self.output, output) :]


def size_of(output: TextIO) -> tuple[int, int]:
    """Return width and height of the terminal there; of none, what is usual."""
    try:
        size = os.get_terminal_size(output.fileno())
    except (OSError, ValueError):  # hung up; or a file
        return 80, 24
    return size.columns or 80, size.lines or 24


def check_terminal() -> None:
    """Raise XdplbError when there is no terminal to read keys from and to paint on."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or Console(file=sys.stdout).is_dumb_terminal:
        raise XdplbError("top needs a terminal; use `xdplb top --once`, `xdplb status` or `xdplb status --json`")


@contextmanager
def opened() -> Iterator[Terminal]:
    """Take the terminal for as long as the block runs."""
    with _signals_in_a_pipe() as pipe:
        terminal = Terminal(pipe)
        try:
            terminal.take()
            yield terminal
        finally:
            terminal.give_back()


@contextmanager
def _signals_in_a_pipe() -> Iterator[tuple[int, int]]:
    """Let signals write their numbers into a pipe, and do nothing else, for as long as the block runs."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(ends[1], warn_on_full_buffer=False)
    try:
        yield ends
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        for end in ends:
            os.close(end)
