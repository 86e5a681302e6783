"""Servers of datagrams on loopback that do what they are told: answer, stay silent, come late, or lie."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, cast

from xdplb.health.check import ProbeEnded
from xdplb.health.probe import Steps, Target, probe
from xdplb.model import Check

LOOPBACK = ip_address("127.0.0.1")
Address = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """What goes back; `elsewhere`: from a socket that was not asked."""

    data: bytes
    after_s: float = 0.0
    elsewhere: bool = False


Answering = Callable[[bytes], Sequence[Answer]]


@contextlib.asynccontextmanager
async def server(answering: Answering, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Answer every datagram with what the function says; give the port."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as own, socket.socket(family, socket.SOCK_DGRAM) as other:
        own.bind((host, 0))
        own.setblocking(False)

        def give(answer: Answer, client: Any) -> None:
            with contextlib.suppress(OSError):  # the test is over
                (other if answer.elsewhere else own).sendto(answer.data, client)

        def take() -> None:
            data, client = own.recvfrom(65535)
            for answer in answering(data):
                loop.call_later(answer.after_s, give, answer, client)

        loop.add_reader(own, take)
        try:
            yield own.getsockname()[1]
        finally:
            loop.remove_reader(own)


class _Relay(asyncio.DatagramProtocol):
    """Between one client and a server: what `passes` refuses is lost."""

    def __init__(self, port: int, passes: Callable[[bytes, bool], bool]) -> None:
        self.server, self.passes = ("127.0.0.1", port), passes
        self.client: Address | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, sender: Any) -> None:
        back = sender == self.server
        if not back:
            self.client = sender
        if self.passes(data, back) and self.client:
            self.transport.sendto(data, self.client if back else self.server)


@contextlib.asynccontextmanager
async def relay(port: int, passes: Callable[[bytes, bool], bool]) -> AsyncIterator[int]:
    """Stand between a client and the server on `port`; `passes` gets each datagram, and whether it goes back."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Relay(port, passes), ("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
        await asyncio.sleep(0)


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Give a UDP port that nobody listens on: it is bound, to an address that is not asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kept:
        kept.bind(("127.0.0.9", 0))
        yield kept.getsockname()[1]


async def ask(check: Check, port: int, packet_bytes: int = 0) -> tuple[ProbeEnded, list[str]]:
    """Probe a port of loopback once; return how it ended and the steps' texts."""
    steps = Steps()
    ended = await probe(check, Target(LOOPBACK, port, packet_bytes=packet_bytes), steps)
    return ended, [step.what for step in steps.steps]


def open_files() -> set[str]:
    """Return what files this process has open, by their kernel's names."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found
