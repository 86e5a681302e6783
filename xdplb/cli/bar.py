"""How far long work is: one line on standard error that is written over, and nothing where that is no terminal."""

from __future__ import annotations

import shutil
import sys

WIDTH = 24


class Bar:
    """The line; `clear` it before anything else is printed."""

    def __init__(self) -> None:
        self.on = sys.stderr.isatty()
        self.most = 0

    def show(self, left: int, text: str) -> None:
        """Draw how much of the most that was ever left is done."""
        self.most = max(self.most, left)
        done = WIDTH - (WIDTH * left // self.most if self.most else WIDTH)
        room = shutil.get_terminal_size().columns - WIDTH - 4  # a line that wraps could not be written over
        self._write(f"\r\x1b[K[{'#' * done}{'-' * (WIDTH - done)}] {text[:room]}")

    def clear(self) -> None:
        """Take the line away."""
        self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self.on:
            sys.stderr.write(text)
            sys.stderr.flush()
