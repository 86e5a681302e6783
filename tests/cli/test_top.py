"""`xdplb top` against the real daemon, in a pseudo-terminal; what it draws is tested in `tests/tui`."""

from __future__ import annotations

import os
import pty
import select
import time

from tests.cli.test_main import xdplb
from tools.lab.stand import ROOT, XDPLB, Stand


def test_without_a_terminal_it_says_what_to_use() -> None:
    done = xdplb("--name", "nobody", "top")
    assert done.returncode == 1
    assert "xdplb status" in done.stderr


def test_it_shows_the_backends_and_leaves_on_q(running: Stand) -> None:
    main, other = pty.openpty()
    child = running.lab.spawn(
        "lb",
        [*XDPLB, "--name", running.name, "top"],
        cwd=ROOT,
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(other)
    seen, until = b"", time.monotonic() + 10
    while b"fd00:13::2" not in seen and b"b3" not in seen and time.monotonic() < until:
        if select.select([main], [], [], 0.1)[0]:
            seen += os.read(main, 65536)
    assert b"b3" in seen
    os.write(main, b"q")
    assert child.wait(5) == 0
    os.close(main)
