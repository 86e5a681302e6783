"""Many tries to connect: each ends once, whatever becomes of it, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from xdplb.health.check import ProbeEnded
from xdplb.health.connector import MANY, Connector, Ended
from xdplb.health.probe import Target

LOOPBACK = ip_address("127.0.0.1")


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def run(tries: list[tuple[Target, float]]) -> dict[int, Ended]:
    """Start all tries, each under its number; return how they ended."""
    found: dict[int, Ended] = {}
    over = asyncio.Event()

    def done(number: int, ended: Ended) -> None:
        assert number not in found
        found[number] = ended
        if len(found) == len(tries):
            over.set()

    connector: Connector[int] = Connector(done)
    for number, (target, timeout_s) in enumerate(tries):
        connector.start(target, timeout_s, number)
    async with asyncio.timeout(10):
        await over.wait()
    assert len(connector) == 0
    connector.close()
    return found


def passed(found: dict[int, Ended]) -> list[bool]:
    return [isinstance(ended, ProbeEnded) and ended.passed for _, ended in sorted(found.items())]


def test_who_listens_passes_and_who_does_not_is_refused(listener: int) -> None:
    found = asyncio.run(run([(Target(LOOPBACK, listener), 1.0), (Target(LOOPBACK, port := closed_port()), 1.0)]))
    assert passed(found) == [True, False]
    assert isinstance(found[0], ProbeEnded)
    assert found[0].cause.startswith(f"tcp 127.0.0.1:{listener}: connected in ")
    assert found[1] == ProbeEnded(False, f"tcp 127.0.0.1:{port}: refused")


def test_many_at_once_end_once_each_and_use_their_sockets_again(listener: int) -> None:
    files = len(os.listdir("/proc/self/fd"))
    good, bad = Target(LOOPBACK, listener), Target(LOOPBACK, closed_port())
    found = asyncio.run(run([(good, 5.0), (bad, 5.0)] * (4 * MANY)))
    assert passed(found) == [True, False] * (4 * MANY)
    assert len(os.listdir("/proc/self/fd")) == files


def test_a_socket_that_was_used_before_meets_the_next_place_as_a_new_one(listener: int) -> None:
    async def scene() -> list[bool]:
        ends: list[bool] = []
        ended = asyncio.Event()

        def done(_: None, end: Ended) -> None:
            ends.append(isinstance(end, ProbeEnded) and end.passed)
            ended.set()

        connector: Connector[None] = Connector(done)
        for port in [listener, listener, closed_port(), listener, listener]:
            ended.clear()
            connector.start(Target(LOOPBACK, port), 1.0, None)
            await ended.wait()
        connector.close()
        return ends

    assert asyncio.run(scene()) == [True, True, False, True, True]


def test_silence_ends_at_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port, waiting = server.getsockname()[1], [socket.socket() for _ in range(4)]
        for other in waiting:
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        found = asyncio.run(run([(Target(LOOPBACK, port), 0.05)]))
        for other in waiting:
            other.close()
    assert found == {0: ProbeEnded(False, f"tcp 127.0.0.1:{port}: a connection did not come within 0.05 s")}


def test_who_is_called_off_does_not_end(listener: int) -> None:
    async def scene() -> None:
        ends: list[str] = []
        connector: Connector[str] = Connector(lambda whose, _: ends.append(whose))
        number = connector.start(Target(LOOPBACK, listener), 1.0, "called off")
        connector.call_off(number, "another")  # its socket's number was somebody else's before
        connector.call_off(number, "called off")
        connector.start(Target(LOOPBACK, listener), 1.0, "goes on")
        async with asyncio.timeout(2):
            while not ends:
                await asyncio.sleep(0.001)
        connector.close()
        assert ends == ["goes on"]

    asyncio.run(scene())


def _start_many(connector: Connector[None], port: int) -> None:
    for _ in range(8):
        connector.start(Target(LOOPBACK, port), 1.0, None)


def test_a_host_without_sockets_says_so_and_not_that_the_backend_is_down(listener: int) -> None:
    async def scene() -> None:
        connector: Connector[None] = Connector(lambda _whose, _end: None)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
        try:
            with pytest.raises(OSError, match="Too many open files") as caught:
                _start_many(connector, listener)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            connector.close()
        assert caught.value.errno == errno.EMFILE

    asyncio.run(scene())
