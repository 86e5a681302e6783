"""A terminal for commands, and somebody who reads it and types."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

WITHIN_S = 15.0


class Terminal:
    """A pseudo-terminal of 24 x 100; a child that leads a session of its own has Ctrl-C from it."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.text = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self.master, self.slave):
            os.close(end)

    @property
    def streams(self) -> dict[str, Any]:
        """What Popen takes to have a child on it. It takes the terminal in itself: by then it leads its session."""
        return {
            "stdin": self.slave,
            "stdout": self.slave,
            "stderr": self.slave,
            "env": {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "24"},
            "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        }

    @contextmanager
    def spawn(self, argv: Sequence[str], variables: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """Have a child on it, whose session ends with the block."""
        streams = {**self.streams, "env": {**self.streams["env"], **(variables or {})}}
        child: subprocess.Popen[str] = subprocess.Popen(argv, text=True, start_new_session=True, **streams)
        try:
            yield child
        finally:
            child.kill()
            child.wait()

    def read(self, until: Callable[[str], bool]) -> str:
        """Return what was written since the last time, as soon as it is what is waited for."""
        deadline = time.monotonic() + WITHIN_S
        while not until(self.text):
            assert self._take(deadline - time.monotonic()), f"it did not come, but {self.text!r}"
        text, self.text = self.text, ""
        return text

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def wait(self, child: subprocess.Popen[str]) -> int:
        """Return the status of a child, reading on so that it can write on."""
        deadline = time.monotonic() + WITHIN_S
        while child.poll() is None and time.monotonic() < deadline:
            self._take(0.02)
        return child.wait(0.1)

    def _take(self, timeout_s: float) -> bool:
        if not select.select([self.master], [], [], max(0.0, timeout_s))[0]:
            return False
        self.text += os.read(self.master, 65536).decode(errors="replace")
        return True
