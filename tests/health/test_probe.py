"""One try, whatever its kind: every end is told in one phrase, and a timeout says what was waited for."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from ipaddress import ip_address

import pytest

from tests.rig.servers import says, serve, target
from xdplb.health.kinds import Kind, Talk
from xdplb.health.probe import MOST_SHOWN, OWN_TROUBLE, Steps, Target, cause_of, probe
from xdplb.model import Check

LOOPBACK = ip_address("127.0.0.1")


def test_steps_say_when_what_happened_and_how_many_bytes_it_took() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, steps = server.getsockname()[1], Steps()
        ended = asyncio.run(probe(Check(port), Target(LOOPBACK, port), steps))
    assert [step.what for step in steps.steps] == ["connected", ended.cause]
    assert 0 < steps.steps[0].at_s <= steps.steps[1].at_s


def test_a_closed_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ended = asyncio.run(probe(Check(port), Target(LOOPBACK, port)))
    assert (ended.passed, ended.cause) == (False, f"tcp 127.0.0.1:{port}: refused")


def test_a_target_is_written_as_in_a_url() -> None:
    assert str(Target(ip_address("2001:db8::1"), 80)) == "[2001:db8::1]:80"
    assert str(Target(LOOPBACK, 0)) == "127.0.0.1"


def test_what_a_stranger_says_is_printable_and_short() -> None:
    steps, said = Steps(), "up nonsense\x1b[2J # \x1b[31m" + "x" * 1000 + "\n"
    with serve(says(said.encode())) as port:
        ended = asyncio.run(probe(Check(kind=Kind.AGENT, ask=Talk(b"?")), target(port), steps))
    assert ended.passed
    assert "says up (?[31mxx" in ended.cause
    assert all(text.isprintable() for text in (ended.cause, ended.warning, *(step.what for step in steps.steps)))
    assert len(ended.cause) == MOST_SHOWN


def test_numbers_of_tls_are_not_the_kernels() -> None:
    assert cause_of(ssl.SSLError(errno.EPERM, "[SSL] bad record"), "B") == "TLS failed: [SSL] bad record"


@pytest.mark.parametrize("number", sorted(OWN_TROUBLE))
def test_own_trouble_says_nothing_of_the_backend(number: int) -> None:
    assert number != errno.ECONNREFUSED
    with pytest.raises(OSError, match="ours"):
        cause_of(OSError(number, "ours"), "B")


def test_there_are_too_many_processes_or_no_such_library_on_this_host() -> None:
    assert {errno.EAGAIN, errno.ELIBACC} <= OWN_TROUBLE


class Panic(BaseException):
    """As those of libraries in Rust."""


def test_what_makes_a_library_stumble_is_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "xdplb"):
        for _ in range(100):
            assert cause_of(Panic("no"), "B") == "its answer cannot be understood (Panic: no)"
    assert len(caplog.records) <= 1
