"""Datagrams are read at a bounded rate."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from xdplb.health.paced import AT_ONCE, PAUSE_S, Paced


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Who sends, and who is read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there, socket.socket(type=socket.SOCK_DGRAM) as here:
        here.bind(("127.0.0.1", 0))
        there.connect(here.getsockname())
        yield there, here


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def test_what_comes_is_taken_with_its_sender(ends: tuple[socket.socket, socket.socket]) -> None:
    there, here = ends

    async def read() -> None:
        taken: list[Any] = []
        paced = Paced(here, lambda datagram, sender: taken.append((datagram, sender)))
        for number in range(3 * AT_ONCE):
            there.send(str(number).encode())
        await until(lambda: len(taken) == 3 * AT_ONCE)
        paced.close()
        assert taken[0] == (b"0", there.getsockname())

    asyncio.run(read())


def test_nothing_is_read_in_the_pause_or_after_the_end(ends: tuple[socket.socket, socket.socket]) -> None:
    there, here = ends

    async def read() -> None:
        times: list[float] = []
        paced = Paced(here, lambda *_: times.append(time.monotonic()))
        for number in (1, 2):
            there.send(b"x")
            await until(lambda wanted=number: len(times) == wanted)
        assert times[1] - times[0] >= PAUSE_S * 0.9
        paced.close()
        await asyncio.sleep(0)
        assert here.fileno() == -1

    asyncio.run(read())


@pytest.mark.alone
def test_of_a_flood_only_so_much_is_read(ends: tuple[socket.socket, socket.socket]) -> None:
    there, here = ends
    over, sent = threading.Event(), [0]

    def flood() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                there.send(bytes(64))
                sent[0] += 1

    async def read() -> None:
        taken = [0]
        paced = Paced(here, lambda *_: taken.__setitem__(0, taken[0] + 1))
        await asyncio.sleep(1.0)
        paced.close()
        assert 0 < taken[0] <= 1.1 * AT_ONCE / PAUSE_S

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        asyncio.run(read())
    finally:
        over.set()
        thread.join()
    assert sent[0] > 10_000
