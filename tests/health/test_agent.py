"""The `agent` check: what a line means, and servers that say it, or not."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.rig.servers import black_hole, closed_port, says, serve, silent, slow, target
from xdplb.health.agent import Line, parse_line
from xdplb.health.check import ProbeEnded, Said
from xdplb.health.kinds import Kind, Talk
from xdplb.health.probe import ProbeFailed, probe
from xdplb.model import Check


def ask(port: int, timeout_s: float = 1.0, send: bytes = b"state\n") -> ProbeEnded:
    ended = asyncio.run(probe(Check(port, kind=Kind.AGENT, ask=Talk(send), timeout_s=timeout_s), target(port)))
    prefix = f"agent 127.0.0.1:{port}: "
    assert ended.cause.startswith(prefix)
    return ProbeEnded(ended.passed, ended.cause.removeprefix(prefix), ended.warning, ended.said)


@pytest.mark.parametrize(
    ("said", "ended"),
    [
        ("up\n", ProbeEnded(True, "says up", said=Said())),
        ("ready up 100%\r\n", ProbeEnded(True, "says up ready 100%", said=Said(100))),
        ("75%\n", ProbeEnded(True, "says 75%", said=Said(75))),
        ("0%\n", ProbeEnded(True, "says 0%", said=Said(0))),
        ("drain\n", ProbeEnded(True, "says drain", said=Said(drain=True))),
        ("maxconn:30\n", ProbeEnded(True, "says nothing", said=Said())),
        ("down#no disk\n", ProbeEnded(False, "says down (no disk)", said=Said())),
        ("stopped # for the night\n", ProbeEnded(False, "says stopped (for the night)", said=Said())),
        ("fail\n", ProbeEnded(False, "says fail", said=Said())),
        ("maint\n", ProbeEnded(False, "says maint", said=Said(maintenance=True))),
        (
            "75%,maxconn:30,maint,down\n",
            ProbeEnded(False, "says down maint 75%", said=Said(75, maintenance=True)),
        ),
        ("up lazy\n", ProbeEnded(True, "says up", "the agent says 'lazy', which is not known", Said())),
        ("up\nnobody reads this", ProbeEnded(True, "says up", said=Said())),
    ],
)
def test_a_line_says_how_to_treat_its_backend(said: str, ended: ProbeEnded) -> None:
    with serve(says(said.encode())) as port:
        assert ask(port) == ended


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("UP\tReady,50%", Line("up", "ready", 50)),
        ("down up", Line("up")),
        ("drain maint ready", Line(admin="ready")),
        ("10% 20%", Line(percent=20)),
        ("maint up", Line("up", "maint")),
        ("x up y", Line("up", unknown="x")),
        ("5 up", Line("up", unknown="5")),
    ],
)
def test_of_words_of_one_kind_the_last_wins(text: str, line: Line) -> None:
    assert parse_line(text) == line


@pytest.mark.parametrize("text", ["", "   ", "hello", "50", "%", "up%", "maxconn:", "# up", "HTTP/1.1 400 Bad Request"])
def test_a_line_of_which_nothing_is_known_is_none(text: str) -> None:
    with pytest.raises(ProbeFailed, match="is known"):
        parse_line(text)


def test_what_is_to_be_sent_is_sent() -> None:
    got = []

    def handle(accepted: socket.socket) -> None:
        got.append(accepted.recv(100))
        accepted.sendall(b"up\n")

    with serve(handle) as port:
        assert ask(port, send=b"state\n").passed
    assert got == [b"state\n"]


def test_an_agent_that_waits_for_nothing_needs_nothing_sent() -> None:
    with serve(lambda accepted: accepted.sendall(b"up\n")) as port:
        assert ask(port, send=b"").passed


def test_refused_blackholed_silent_and_late_agents_fail() -> None:
    assert ask(closed_port()) == ProbeEnded(False, "refused")
    with black_hole() as port:
        assert ask(port, 0.1) == ProbeEnded(False, "a connection did not come within 0.1 s")
    for handle in (silent, slow(b"up\n")):
        with serve(handle) as port:
            assert ask(port, 0.1) == ProbeEnded(False, "a line did not come within 0.1 s")


def test_a_line_without_an_end_fails() -> None:
    with serve(says(b"")) as port:
        assert ask(port) == ProbeEnded(False, "closed without a word")
    with serve(says(b"up")) as port:
        assert ask(port) == ProbeEnded(False, "closed before the end of a line: b'up'")
    with serve(says(b"up " * 2000)) as port:
        assert ask(port).cause.startswith("a line of more than 4096 bytes: b'up up")
