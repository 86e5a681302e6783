"""The line that says how far it is: on a terminal, written over, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

from tests.rig.terminal import Terminal

PROGRAM = """
from xdplb.cli.bar import Bar
bar = Bar()
bar.show(400, "web/b2: 400 flows left")
bar.show(100, "web/b2: 100 flows left")
bar.show(0, "web/b2: no flow left" + " " * 200 + "too long")
bar.clear()
print("end")
"""
FULL, EMPTY = "#" * 24, "-" * 24


def test_it_is_written_over_and_gone_at_the_end() -> None:
    with Terminal() as terminal, terminal.spawn([sys.executable, "-c", PROGRAM]):
        text = terminal.read(lambda text: "end" in text)
    lines = [line.rstrip() for line in text.split("\r\x1b[K")]
    assert lines[1:4] == [
        f"[{EMPTY}] web/b2: 400 flows left",
        f"[{'#' * 18}{'-' * 6}] web/b2: 100 flows left",
        f"[{FULL}] web/b2: no flow left",
    ]
    assert lines[4].strip() == "end"


def test_in_a_pipe_there_is_nothing_of_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("end\n", "")
