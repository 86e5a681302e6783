"""The driver of the checks, with real servers on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address

from xdplb.desired import Health
from xdplb.health.watch import Watch
from xdplb.model import Check

LOOPBACK, KEY = ip_address("127.0.0.1"), ("web", "b1")


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def check(server: socket.socket) -> Check:
    return Check(server.getsockname()[1], interval_s=0.02, timeout_s=0.5, rise=2, fall=2)


def test_a_backend_goes_up_down_and_up_with_its_server() -> None:
    async def scene() -> list[bool | None]:
        seen: list[bool | None] = []
        watch = Watch(lambda: seen.append(watch.health[KEY].up))
        server = socket.create_server(("127.0.0.1", 0))
        address = server.getsockname()
        watch.follow({KEY: (check(server), LOOPBACK)})
        assert await watch.wait_first(2)
        server.close()
        await until(lambda: watch.health[KEY].up is False)
        assert "refused" in watch.health[KEY].cause
        with socket.create_server(address):
            await until(lambda: watch.health[KEY].up is True)
        await watch.close()
        return seen

    assert asyncio.run(scene()) == [True, False, True]


def test_what_was_known_holds_until_results_speak_against_it() -> None:
    async def scene() -> None:
        watch = Watch(lambda: None)
        with socket.create_server(("127.0.0.1", 0)) as server:
            what = (check(server), LOOPBACK)
            watch.follow({KEY: what}, {KEY: Health(False, "of yesterday")})
            assert watch.health[KEY].up is False
            assert not await watch.wait_first(1)
            await until(lambda: watch.health[KEY].up is True)
            watch.follow({})
            assert watch.health == {}
            await watch.close()

    asyncio.run(scene())


def test_a_changed_check_starts_anew_and_keeps_what_is_believed() -> None:
    async def scene() -> None:
        watch = Watch(lambda: None)
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            watch.follow({KEY: (check(one), LOOPBACK)})
            await watch.wait_first(2)
            watch.follow({KEY: (check(two), LOOPBACK)})
            assert watch.health[KEY].up is True
            await until(lambda: str(two.getsockname()[1]) in watch.health[KEY].cause)
            await watch.close()

    asyncio.run(scene())
