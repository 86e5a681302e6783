"""One try, whatever its kind: every end is told in one phrase, and a timeout says what was waited for."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

from xdplb.health.probe import Steps, Target, probe
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
