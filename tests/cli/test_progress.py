"""Whoever waits long on a terminal is told for what; nobody else sees anything of it."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

import pytest

from xdplb.admin.client import Client
from xdplb.cli import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Busy(Client):
    """A daemon that says what it does."""

    def __init__(self, asked: threading.Event) -> None:
        self.asked = asked

    def config(self) -> dict[str, Any]:
        self.asked.set()
        return {"doing": "finding the ways to 10,000 backends"}


def test_what_the_daemon_does_is_told_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    asked = threading.Event()
    assert progress.wait(Busy(asked), lambda: asked.wait(5))
    assert "finding the ways to 10,000 backends ... 0 s" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_elsewhere_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    assert progress.wait(Busy(threading.Event()), lambda: 7) == 7
    assert stream.getvalue() == ""
