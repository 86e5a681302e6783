"""`run` in a process of its own, on a pseudo-terminal, with a fake daemon and somebody at the keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from xdplb.errors import XdplbError
from xdplb.tui.fake_daemon import small
from xdplb.tui.recording import Recorder
from xdplb.tui.screen import run

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys, threading
from xdplb.errors import DaemonError
from xdplb.tui.fake_daemon import FakeDaemon, small
from xdplb.tui.screen import run

from pathlib import Path
from xdplb.tui.recording import Recording
from xdplb.tui.screen import replay

mood, seconds = sys.argv[1], float(sys.argv[2]) or None
asked = 0

class Moody(FakeDaemon):
    def status(self):
        return fetch()

def fetch():
    global asked
    asked += 1
    if mood == "away" or mood == "leaves for a while" and 2 < asked < 20:
        raise DaemonError("the daemon cannot be reached")
    if mood == "hangs" and asked > 2:
        threading.Event().wait()
    if mood == "has a bug" and asked > 2:
        raise ZeroDivisionError
    daemon.advance(0.1)
    return FakeDaemon.status(daemon)

if mood.startswith("/"):
    sys.exit(replay(Recording(Path(mood)), seconds))
daemon = Moody(small().services)
daemon.talkers = []
try:
    run(daemon, 0.1, seconds)
except DaemonError as error:
    sys.exit(str(error))
"""
CTRL_C, CTRL_Z = b"\x03", b"\x1a"


class Session:
    """A running screen, the terminal that it runs on, and what was seen there."""

    def __init__(self, mood: str, seconds: float) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, 80))
        self.settings = termios.tcgetattr(self.slave)
        self.output = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, mood, str(seconds)],
            stdin=self.slave,
            stdout=self.slave,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=_without_size(os.environ) | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def see(self, expected: str) -> None:
        """Wait until this text is painted, and forget what came before it."""
        deadline = time.monotonic() + 20
        while expected not in (shown := plain(self.output)):
            assert time.monotonic() < deadline, f"{expected!r} did not come, but:\n{shown}"
            self._read(0.1)
        self.output = b""

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what stderr says. The terminal must be as it was."""
        _, said = self.process.communicate(timeout=20)
        while self._read(0.0):
            pass
        assert termios.tcgetattr(self.slave) == self.settings
        if b"\x1b[?" in self.output:
            assert self.output.endswith(b"\x1b[0m\x1b[?25h\x1b[?1049l")
        return self.process.returncode, said.decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        os.close(self.master)
        os.close(self.slave)

    def _read(self, timeout_s: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], timeout_s)
        if ready:
            self.output += os.read(self.master, 65536)
        return bool(ready)


def _without_size(environ: Mapping[str, str]) -> dict[str, str]:
    """What says how large a terminal is would be believed more than the terminal itself."""
    return {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES")}


def plain(output: bytes) -> str:
    """Return painted text without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", output.decode(errors="replace"))


@pytest.fixture
def start() -> Iterator[Callable[..., Session]]:
    """Start a screen whose daemon has a mood."""
    sessions: list[Session] = []

    def start(mood: str = "answers", seconds: float = 0) -> Session:
        sessions.append(Session(mood, seconds))
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


def test_keys_are_answered_and_ctrl_c_leaves_the_terminal_as_it_was(start: Callable[..., Session]) -> None:
    screen = start()
    screen.see("M pkt/s")
    screen.type(b"s")
    screen.see("sorted by state")
    screen.type(b"/b2\r")
    screen.see("1-2 of 2")
    screen.type(b"\x1b")
    screen.see("1-4 of 4")
    screen.type(b"?")
    screen.see("these keys")
    screen.type(b"\x1b[Ap")
    screen.see("PAUSED")
    screen.type(CTRL_C)

    assert screen.end() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order(start: Callable[..., Session], number: signal.Signals) -> None:
    screen = start()
    screen.see("M pkt/s")
    screen.process.send_signal(number)

    assert screen.end() == (0, "")


def test_a_backend_is_drained_by_keys_once_confirmed(start: Callable[..., Session]) -> None:
    screen = start()
    screen.see("M pkt/s")
    screen.type(b"jd")
    screen.see("drain web/b1? 341 of 1,024 slots move; flows stay (0 remembered). y/n")
    screen.type(b"y")
    screen.see("web/b1 is draining (an operator asked for no new flows); 342 map entries")
    screen.type(b"e")
    screen.see("web/b1 up → draining")
    screen.type(b"q")

    assert screen.end() == (0, "")


def test_a_recording_is_played_and_obeys_keys(start: Callable[..., Session], tmp_path: Path) -> None:
    daemon, recorder = small(), Recorder(tmp_path / "film")
    for second in range(0, 60, 10):
        recorder.write("status", daemon.status(), float(second))
        daemon.advance(10.0)
    recorder.close()
    screen = start(str(tmp_path / "film"))
    screen.see("recording 1 s of 50 s, 1x")
    screen.type(b" ")
    screen.see("of 50 s, still")
    screen.type(b"\x1b[D")
    screen.see("recording 0 s of 50 s, still")
    screen.type(b"\x1b[C\x1b[C")
    screen.see("recording 20 s of 50 s, still")
    screen.type(b"q")

    assert screen.end() == (0, "")


def test_q_ends_it(start: Callable[..., Session]) -> None:
    screen = start()
    screen.see("M pkt/s")
    screen.type(b"q")

    assert screen.end() == (0, "")


def test_it_ends_after_the_given_time(start: Callable[..., Session]) -> None:
    screen = start(seconds=0.3)
    screen.see("M pkt/s")

    assert screen.end() == (0, "")


def test_another_size_is_another_picture(start: Callable[..., Session]) -> None:
    screen = start()
    screen.see("history")
    termios.tcsetwinsize(screen.slave, (60, 200))
    screen.see("\x1b[2J")
    screen.see("tcp 10.0.12.2:80 connected in 0.2 ms")
    screen.type(CTRL_C)

    assert screen.end() == (0, "")


@pytest.mark.slow
def test_a_daemon_that_leaves_is_waited_for(start: Callable[..., Session]) -> None:
    screen = start("leaves for a while")
    screen.see("no answer from the daemon for 1 s; forwarding goes on")
    screen.see("sorted by name")
    screen.type(CTRL_C)

    assert screen.end() == (0, "")


@pytest.mark.slow
def test_a_daemon_that_hangs_does_not_stop_the_keys(start: Callable[..., Session]) -> None:
    screen = start("hangs")
    screen.see("M pkt/s")
    screen.type(b"s")
    screen.see("sorted by state")
    screen.see("no answer from the daemon for 4 s")
    screen.type(CTRL_C)

    assert screen.end() == (0, "")


def test_a_daemon_that_is_away_from_the_beginning_is_an_error(start: Callable[..., Session]) -> None:
    screen = start("away")

    assert screen.end() == (1, "the daemon cannot be reached\n")
    assert screen.output == b""


def test_a_bug_shows_its_traceback_on_a_terminal_that_is_as_it_was(start: Callable[..., Session]) -> None:
    code, said = start("has a bug").end()

    assert code == 1
    assert said.endswith("ZeroDivisionError\n")


def test_ctrl_z_gives_the_terminal_to_the_shell_and_comes_back(start: Callable[..., Session]) -> None:
    screen = start()
    screen.see("M pkt/s")
    screen.type(CTRL_Z)
    screen.see("\x1b[?1049l")  # a session without a shell does not stop: it comes back at once
    screen.see("M pkt/s")
    screen.type(CTRL_C)

    assert screen.end() == (0, "")


def test_without_a_terminal_it_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nowhere:
        monkeypatch.setattr(sys, "stdin", nowhere)
        with pytest.raises(XdplbError, match="top needs a terminal; use `xdplb top --once`"):
            run(small())
