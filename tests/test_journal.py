"""Records get to the journal with their fields, and never wait for it."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from xdplb.journal import MOST_BYTES, Journal, encode, is_stderr


def decode(datagram: bytes) -> dict[str, str]:
    """Read the native protocol as journald does."""
    found = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8 : 8 + length], datagram[8 + length + 1 :]
        found[name.decode()] = value.decode()
    return found


def test_a_record_is_one_datagram_of_fields(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        journald.settimeout(5)
        journal = Journal(tmp_path / "socket")
        assert journal.send(logging.ERROR, "web/b1 is down", {"event": "backend_state", "traceback": "a\nb=c\n"})
        journal.close()
        told = decode(journald.recv(65536))
    assert told == {
        "MESSAGE": "web/b1 is down",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "xdplb",
        "EVENT": "backend_state",
        "TRACEBACK": "a\nb=c\n",
    }


def test_a_journal_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        journald.settimeout(5)
        journal = Journal(tmp_path / "socket")
        sent = 0
        while journal.send(logging.INFO, "x" * 1000, {}):
            sent += 1
            assert sent < 100_000
        began = time.monotonic()
        assert not any(journal.send(logging.INFO, "x" * 1000, {}) for _ in range(10))
        assert time.monotonic() - began < 2
    assert not journal.send(logging.INFO, "nobody is there any more", {})
    journal.close()


def test_no_value_is_longer_than_a_datagram_bears() -> None:
    assert len(encode({"cause": "x" * 10_000_000})) < MOST_BYTES + 100


def test_whether_stderr_leads_to_the_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with open(tmp_path / "journal", "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        there = os.fstat(stderr.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino}")
        assert is_stderr()
        monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino + 1}")
        assert not is_stderr()
