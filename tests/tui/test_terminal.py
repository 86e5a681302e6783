"""The terminal is taken, painted line by line, and given back whatever happens. On a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from rich.console import Group
from rich.text import Text

from xdplb.errors import XdplbError
from xdplb.tui.terminal import check_terminal, opened

TAKEN, GIVEN_BACK = b"\x1b[?1049h\x1b[?25l", b"\x1b[0m\x1b[?25h\x1b[?1049l"


@dataclass
class Person:
    """Who sits at the other end of the terminal."""

    master: int
    slave: int
    seen: bytes = b""

    def reads(self, expected: bytes) -> bytes:
        """Return what came since the last time, up to what is expected and with it."""
        deadline = time.monotonic() + 10
        while expected not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{expected!r} did not come, but {self.seen!r}"
            self.seen += os.read(self.master, 65536)
        end = self.seen.index(expected) + len(expected)
        got, self.seen = self.seen[:end], self.seen[end:]
        return got

    def types(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def hangs_up(self) -> None:
        os.close(self.master)
        self.master = -1


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """Put our stdin and stdout on a new pseudo-terminal of 80x24."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    person = Person(master, slave)
    with open(slave, closefd=False) as stdin, open(slave, "w", closefd=False) as stdout:
        streams = SimpleNamespace(stdin=stdin, stdout=stdout)  # pytest has plans for those of the real sys
        monkeypatch.setattr("xdplb.tui.terminal.sys", streams)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        yield person
    for end in (person.master, slave):
        if end >= 0:
            os.close(end)


def test_everything_is_as_it_was_afterwards(person: Person) -> None:
    settings = termios.tcgetattr(person.slave)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGWINCH)]

    with opened():
        person.reads(TAKEN)
        assert not termios.tcgetattr(person.slave)[3] & (termios.ECHO | termios.ICANON)
        assert termios.tcgetattr(person.slave)[3] & termios.ISIG

    person.reads(GIVEN_BACK)
    assert termios.tcgetattr(person.slave) == settings
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGWINCH)] == handlers
    assert signal.set_wakeup_fd(-1) == -1


def test_everything_is_as_it_was_after_an_error_too(person: Person) -> None:
    settings = termios.tcgetattr(person.slave)

    with pytest.raises(ZeroDivisionError), opened():
        raise ZeroDivisionError

    person.reads(TAKEN)
    person.reads(GIVEN_BACK)
    assert termios.tcgetattr(person.slave) == settings


def test_only_lines_that_differ_are_written(person: Person) -> None:
    with opened() as terminal:
        terminal.paint(Group(Text("one"), Text("two"), Text("three")))
        person.reads(b"\x1b[?2026h\x1b[1;1H\x1b[2Kone\x1b[2;1H\x1b[2Ktwo\x1b[3;1H\x1b[2Kthree\x1b[?2026l")
        terminal.paint(Group(Text("one"), Text("two"), Text("three")))  # writes nothing
        terminal.paint(Group(Text("one"), Text("2", "bold red"), Text("three")))
        assert person.reads(b"\x1b[?2026l") == (b"\x1b[?2026h\x1b[2;1H\x1b[2K\x1b[1;31m2\x1b[0m\x1b[?2026l")
        terminal.forget()
        terminal.paint(Group(Text("one")))
        assert person.reads(b"\x1b[?2026l").endswith(b"\x1b[2J\x1b[?2026h\x1b[1;1H\x1b[2Kone\x1b[?2026l")


def test_no_colour_is_respected(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    with opened() as terminal:
        terminal.paint(Group(Text("down", "bold red")))
        person.reads(b"\x1b[1mdown\x1b[0m")


def test_keys_signals_and_wake_are_waited_for_together(person: Person) -> None:
    with opened() as terminal:
        person.types(b"q")
        assert terminal.wait(10) == (b"q", b"")
        os.kill(os.getpid(), signal.SIGINT)
        assert terminal.wait(10) == (b"", bytes([signal.SIGINT]))
        person.types(b"\x0c")
        terminal.wake()
        assert terminal.wait(10) == (b"\x0c", b"\0")
        assert terminal.wait(0) == (b"", b"")


def test_a_key_that_goes_on_is_told_from_one_that_does_not(person: Person) -> None:
    with opened() as terminal:
        assert not terminal.key_goes_on()
        person.types(b"[")
        assert terminal.key_goes_on()


def test_a_terminal_that_hangs_up_looks_like_sighup(person: Person) -> None:
    with opened() as terminal:
        person.hangs_up()
        terminal.paint(Group(Text("to nobody")))
        assert terminal.size() == (80, 24)
        assert terminal.wait(10) == (b"", bytes([signal.SIGHUP]))


def test_the_size_is_the_terminals(person: Person) -> None:
    with opened() as terminal:
        termios.tcsetwinsize(person.slave, (60, 200))
        assert terminal.size() == (200, 60)


@pytest.mark.usefixtures("person")
def test_a_terminal_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_terminal()
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr("xdplb.tui.terminal.sys.stdout", nowhere)
        with pytest.raises(XdplbError, match="xdplb status --json"):
            check_terminal()


@pytest.mark.usefixtures("person")
def test_a_dumb_terminal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")

    with pytest.raises(XdplbError, match="needs a terminal"):
        check_terminal()
