"""The counters of a real program, read while tables come and go: who is told, and what a look costs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from random import Random
from statistics import median

import pytest

from tests.rig.packets import BACKENDS4, config, service, tcp
from tests.rig.xdp import SPEC, desired
from xdplb.contract import CONSTANTS
from xdplb.dataplane import loader, syscall
from xdplb.desired import DesiredService, Key
from xdplb.forwarding import Forwarding
from xdplb.model import Backend, Mode
from xdplb.passive import Passive
from xdplb.tables import Capacity

WATCHED = replace(SPEC, passive=True)
LOOK_S = 0.025
SYN, ACK = bytes(tcp(flags="S")), bytes(tcp(flags="A"))
Services = tuple[DesiredService, ...]


class Scene:
    """A balancer without interfaces, and what it was told. Time goes on by itself, 25 ms a look."""

    def __init__(self, place: loader.Place) -> None:
        self.forwarding = Forwarding(place, {}, Mode.NATIVE)
        self.told: list[tuple[Key, str]] = []
        self.passive = Passive(self.forwarding, lambda key, cause: self.told.append((key, cause)))
        self.now, self.port, self.dead = 1000.0, 1024, ""

    def traffic(self, looks: int = 1, connections: int = 60) -> None:
        """Open connections; those to the dead backend are not answered."""
        fd = syscall.get(self.forwarding.kernel.pinned.program)
        run = syscall.TestRun(fd)
        for _ in range(looks):
            for _ in range(connections):
                self.port = self.port + 1 if self.port < 65535 else 1024
                _, left = run.run(_from(SYN, self.port))
                if str(ip_address(left[30:34])) != self.dead:
                    run.run(_from(ACK, self.port))
            self.now += LOOK_S
            assert self.passive.look(self.now)
        os.close(fd)


def _from(template: bytes, port: int) -> bytes:
    return template[:34] + port.to_bytes(2, "big") + template[36:]


def play(place: loader.Place, act: Callable[[Scene], Awaitable[None]], services: Services) -> None:
    async def whole() -> None:
        scene = Scene(place)
        await scene.forwarding.load(WATCHED)
        await scene.forwarding.write(services, WATCHED)
        await act(scene)
        scene.forwarding.kernel.close()

    asyncio.run(whole())


def web(backends: list[Backend] = BACKENDS4, passive: bool = True) -> Services:
    services: Services = desired(config(service(backends=backends, passive=passive)))
    return services


def test_who_gets_on_with_nobody_is_told_by_name(place: loader.Place) -> None:
    async def act(scene: Scene) -> None:
        scene.traffic(looks=8)
        assert scene.told == []

        scene.dead = str(BACKENDS4[1].address)
        scene.traffic()

        ((key, cause),) = scene.told
        assert key == ("web", BACKENDS4[1].name)
        assert cause.startswith("no connection was answered in 25 ms, of ")

    play(place, act, web())


def test_other_tables_and_other_backends_confuse_nobody(place: loader.Place) -> None:
    async def act(scene: Scene) -> None:
        forwarding = scene.forwarding
        scene.traffic(looks=8)
        roomier = replace(WATCHED, capacity=replace(WATCHED.capacity, backends=1024))
        await forwarding.become(roomier, forwarding.services)
        scene.traffic(looks=4)
        await forwarding.write(web(BACKENDS4[1:]), roomier)
        scene.traffic(looks=4)
        await forwarding.write(web(list(reversed(BACKENDS4))), roomier)
        scene.traffic(looks=4)
        assert scene.told == []

        scene.dead = str(BACKENDS4[0].address)
        scene.traffic(looks=2)

        assert [key for key, _ in scene.told] == [("web", BACKENDS4[0].name)]

    play(place, act, web())


def test_what_was_counted_before_is_no_news(place: loader.Place) -> None:
    async def act(scene: Scene) -> None:
        scene.dead = str(BACKENDS4[0].address)
        scene.traffic(looks=1)
        scene.passive = Passive(scene.forwarding, lambda key, cause: scene.told.append((key, cause)))

        scene.dead = ""
        scene.traffic(looks=40)

        assert scene.told == []

    play(place, act, web())


def test_without_services_that_want_it_nothing_is_read(place: loader.Place) -> None:
    async def act(scene: Scene) -> None:
        await scene.forwarding.write(web(passive=False), SPEC)
        assert not scene.passive.look(scene.now)
        assert scene.forwarding.kernel.moment == 0

        await scene.forwarding.write(web(), WATCHED)
        scene.traffic(looks=8)
        scene.dead = str(BACKENDS4[2].address)
        scene.traffic()
        assert [key for key, _ in scene.told] == [("web", BACKENDS4[2].name)]

    play(place, act, web())


def test_it_looks_by_itself(place: loader.Place) -> None:
    async def act(scene: Scene) -> None:
        task = asyncio.create_task(scene.passive.run())
        until, before = time.monotonic() + 5, scene.forwarding.kernel.moment
        while scene.forwarding.kernel.moment in (0, before):
            assert time.monotonic() < until
            await asyncio.sleep(0.005)
            before = before or scene.forwarding.kernel.moment
        task.cancel()

    play(place, act, web())


MANY = 10_000
MEASURE_S = 0.0002  # a look at many backends of which few have news


@pytest.mark.alone
def test_a_look_at_ten_thousand_backends_costs_next_to_nothing(place: loader.Place) -> None:
    backends = [Backend(f"b{n}", IPv4Address("10.0.0.1") + n) for n in range(MANY)]
    services: Services = desired(config(service(backends=backends, passive=True, ring_size=1 << 14)))
    room = replace(WATCHED, capacity=Capacity(rows_bits=8, slots=1 << 15, backends=1 << 14))

    async def act() -> None:
        scene = Scene(place)
        await scene.forwarding.load(room)
        await scene.forwarding.write(services, room)
        counters, draw, width = scene.forwarding.kernel.progress, Random(1), CONSTANTS["PROGRESS_WORDS"]
        scene.passive.look(1.0)
        took = []
        for turn in range(400):
            for _ in range(5):
                row = draw.randrange(1, MANY + 1)
                counters[width * row] += 1
                counters[width * row + 1] += 1
            began = time.perf_counter()
            scene.passive.look(1.0 + turn * LOOK_S)
            took.append(time.perf_counter() - began)
        assert median(took) < MEASURE_S, f"{median(took) * 1e6:.0f} us"
        counters.release()
        scene.forwarding.kernel.close()

    asyncio.run(act())
