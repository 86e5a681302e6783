"""The `tcp` check against real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from xdplb.health.kinds import Talk
from xdplb.health.probe import Target, probe
from xdplb.model import Check

LOOPBACK = ip_address("127.0.0.1")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        yield server


def ask(port: int, timeout_s: float = 1.0, talk: Talk | None = None) -> tuple[bool, str]:
    ended = asyncio.run(probe(Check(port, timeout_s=timeout_s, ask=talk), Target(LOOPBACK, port)))
    return ended.passed, ended.cause


def test_a_listening_port_passes_and_says_how_fast(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    passed, cause = ask(port)
    assert passed
    assert cause.startswith(f"tcp 127.0.0.1:{port}: connected in ")


def test_the_connection_is_reset_and_leaves_no_time_wait(listener: socket.socket) -> None:
    ask(listener.getsockname()[1])
    listener.settimeout(1)
    accepted, _ = listener.accept()
    with accepted, pytest.raises(ConnectionResetError):
        accepted.recv(1)


def test_a_full_backlog_runs_into_the_timeout(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for other in waiting:
        other.setblocking(False)
        other.connect_ex(("127.0.0.1", port))
    try:
        assert ask(port, 0.1) == (False, f"tcp 127.0.0.1:{port}: a connection did not come within 0.1 s")
    finally:
        for other in waiting:
            other.close()


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that answers what it got, in a thread, as long as anybody connects."""
    import threading

    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                accepted, _ = server.accept()
            except OSError:
                return
            with accepted:
                accepted.sendall(b"+" + accepted.recv(100))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_what_is_expected_must_be_in_the_answer(echo: int) -> None:
    assert ask(echo, talk=Talk(b"PING\r\n", r"^\+PI.G"))[0]
    passed, cause = ask(echo, talk=Talk(b"PING\r\n", "PONG"))
    assert not passed
    assert cause == f"tcp 127.0.0.1:{echo}: 'PONG' is not in the answer of 7 bytes: b'+PING\\r\\n'"


def test_silence_is_told_as_what_was_waited_for(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert ask(port, 0.1, Talk(b"", "220")) == (
        False,
        f"tcp 127.0.0.1:{port}: '220' in an answer did not come within 0.1 s",
    )
