"""One try against real sockets on loopback: what happened is told in one phrase."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from xdplb.health.probe import probe_tcp

LOOPBACK = ip_address("127.0.0.1")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        yield server


def probe(port: int, timeout_s: float = 1.0) -> tuple[bool, str]:
    ended = asyncio.run(probe_tcp(LOOPBACK, port, timeout_s))
    return ended.passed, ended.cause


def test_a_listening_port_passes_and_says_how_fast(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    passed, cause = probe(port)
    assert passed
    assert cause.startswith(f"tcp 127.0.0.1:{port} connected in ")


def test_the_connection_is_reset_and_leaves_no_time_wait(listener: socket.socket) -> None:
    probe(listener.getsockname()[1])
    listener.settimeout(1)
    accepted, _ = listener.accept()
    with accepted, pytest.raises(ConnectionResetError):
        accepted.recv(1)


def test_a_closed_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert probe(port) == (False, f"tcp 127.0.0.1:{port} refused")


def test_a_full_backlog_runs_into_the_timeout(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for other in waiting:
        other.setblocking(False)
        other.connect_ex(("127.0.0.1", port))
    try:
        assert probe(port, timeout_s=0.1) == (False, f"tcp 127.0.0.1:{port} did not answer within 0.1 s")
    finally:
        for other in waiting:
            other.close()
