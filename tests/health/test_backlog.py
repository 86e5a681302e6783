"""Which listening sockets are full, asked of a real kernel."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tools.lab.net import Lab, address
from tools.lab.stand import wait_for
from xdplb.health.backlog import Backlog, count_overflows, full_listeners
from xdplb.health.evidence import Sign, Unanswered

PORT = 8088


@pytest.fixture
def host(second_lab: Lab) -> Iterator[None]:
    """On a host of the lab, whose counters nobody else moves."""
    with second_lab.inside("b1"):
        yield


@contextlib.contextmanager
def listener(at: str, backlog: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of the test before, connections are ending
        server.bind((at, PORT))
        server.listen(backlog)
        yield server


def knock(stack: contextlib.ExitStack, to: str) -> None:
    client = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET))
    client.setblocking(False)
    client.connect_ex((to, PORT))


@pytest.mark.parametrize(
    ("at", "to", "told"),
    [
        (address("b1", 4), address("b1", 4), ip_address(address("b1", 4))),
        (address("b1", 6), address("b1", 6), ip_address(address("b1", 6))),
        ("0.0.0.0", address("b1", 4), None),
        ("::", address("b1", 6), None),
        ("::", address("b1", 4), None),
    ],
)
@pytest.mark.usefixtures("host")
def test_a_full_one_is_found_when_it_drops_openings(at: str, to: str, told: object) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(listener(at, 1))
        backlog = Backlog()
        found: list[Unanswered] = []

        def dropped() -> bool:
            knock(stack, to)
            found.extend(backlog.look())
            return bool(found)

        wait_for(dropped, "a full queue")
        assert [(one.address, one.port, one.sign) for one in found] == [(told, PORT, Sign.QUEUE_FULL)]
        assert found[0].count >= 1
        assert full_listeners() == [(told, PORT)]
        server.accept()[0].close()
        server.accept()[0].close()
        assert full_listeners() == []


@pytest.mark.usefixtures("host")
def test_one_that_has_room_is_not_found() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener(address("b1", 4), 5))
        backlog = Backlog()
        for _ in range(3):
            knock(stack, address("b1", 4))
        assert full_listeners() == []
        assert backlog.look() == []


@pytest.mark.usefixtures("host")
def test_a_full_one_that_drops_nothing_is_not_told_of() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener(address("b1", 4), 1))
        backlog, before = Backlog(), count_overflows()
        for _ in range(2):  # as many as it takes
            knock(stack, address("b1", 4))
        assert full_listeners() == [(ip_address(address("b1", 4)), PORT)]
        assert count_overflows() == before
        assert backlog.look() == []
