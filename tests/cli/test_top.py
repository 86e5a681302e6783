"""`xdplb top` as it is typed, against the real daemon on a pseudo-terminal; what it draws is tested in `tests/tui`."""

from __future__ import annotations

import os
import pty
import select
import time
from pathlib import Path

import pytest

from tests.cli.test_main import xdplb
from tests.tui.test_screen import plain
from tools.lab.stand import ROOT, XDPLB, Stand
from xdplb.tui.fake_daemon import small
from xdplb.tui.recording import Recorder, Recording


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two seconds of a fake daemon."""
    daemon, recorder = small(), Recorder(tmp_path / "film")
    for second in range(3):
        recorder.write("status", daemon.status(), float(second))
        daemon.advance(1.0)
    recorder.close()
    return tmp_path / "film"


def test_without_a_terminal_it_says_what_to_use() -> None:
    done = xdplb("--name", "nobody", "top")
    assert done.returncode == 1
    assert "xdplb top --once" in done.stderr


def test_a_recording_is_printed_without_terminal_and_daemon(film: Path) -> None:
    done = xdplb("--name", "nobody", "top", "--once", "--replay", str(film), "--size", "100x20")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 20
    assert "M pkt/s" in lines[1]
    assert lines[0].endswith("recording 2 s of 2 s, end")
    assert "\x1b" not in done.stdout


def test_what_does_not_fit_together_is_refused(film: Path) -> None:
    for options, said in (
        (["--once", "--size", "wide"], "--size: 'wide' is no size; give columns and lines"),
        (["--once", "--size", "0x10"], "--size: '0x10' is no size"),
        (["--size", "80x24"], "--size goes with --once"),
        (["--replay", str(film), "--record", "x"], "--record goes with the live screen"),
        (["--replay", "nothing-here"], "No such file or directory; name a file that --record wrote"),
    ):
        done = xdplb("--name", "nobody", "top", *options)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_backend_is_drained_from_the_keyboard_and_all_is_recorded(running: Stand, tmp_path: Path) -> None:
    done = xdplb("--name", running.name, "top", "--once", "--interval", "0.1", "--size", "120x40")
    assert done.returncode == 0, done.stderr
    assert "b3" in done.stdout
    assert "3 backends: 3 up" in done.stdout

    main, other = pty.openpty()
    child = running.lab.spawn(
        "lb",
        [*XDPLB, "--name", running.name, "top", "--interval", "0.2", "--record", str(tmp_path / "day")],
        cwd=ROOT,
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(other)
    seen = b""

    def see(*expected: str) -> None:
        nonlocal seen
        until = time.monotonic() + 30
        while not all(text in plain(seen) for text in expected):
            assert time.monotonic() < until, f"{expected!r} did not come, but:\n{plain(seen)}"
            if select.select([main], [], [], 0.1)[0]:
                seen += os.read(main, 65536)
        seen = b""

    see("b3")
    os.write(main, b"jjd")
    see("slots move; flows stay")
    assert {one["state"] for one in running.client.departures("b2", None)} == {"up"}  # nothing before it is confirmed
    os.write(main, b"y")
    see("b2 is draining", "drain by root")
    assert {one["state"] for one in running.client.departures("b2", None)} == {"draining"}
    os.write(main, b"q")
    assert child.wait(20) == 0
    os.close(main)
    _, events = Recording(tmp_path / "day").until(99.0)
    assert {"draining", None} <= {event["state"] for event in events}  # what became of it, and who wanted it
