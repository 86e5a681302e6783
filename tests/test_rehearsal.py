"""What is rehearsed is what the real program's tables then come to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address
from random import Random

from tests.rig.packets import config, service
from tests.rig.xdp import SPEC, desired
from tools.lab.net import Lab
from tools.plan_check import World
from xdplb.dataplane import loader
from xdplb.desired import DesiredService
from xdplb.forwarding import Forwarding
from xdplb.model import Mode, Vip
from xdplb.plan import owners
from xdplb.rehearsal import Rehearsal
from xdplb.tables import Tables

ALL = replace(
    SPEC, capacity=replace(SPEC.capacity, slots=1 << 16), gue4=True, gue6=True, limits=True, client=True, ranges=True
)


def test_the_kernel_is_written_as_it_was_rehearsed(lab: Lab, place: loader.Place) -> None:
    """The program can do everything from the beginning: only the last change needs a compiler, for room."""

    async def scene() -> None:
        forwarding, world = Forwarding(place, {"eth0": 1}, Mode.NATIVE), World(Random(5), config(service()))
        await forwarding.load(ALL)
        for _ in range(20):
            assert not await write(forwarding, world.services(world.memo))
            world.change()
        wide = replace(service(ring_size=1 << 16), name="wide", vips=(Vip(ip_address("192.0.2.99"), 80),))
        world.config = config(*world.config.services, wide)
        assert await write(forwarding, world.services(world.memo))
        forwarding.kernel.close()

    async def write(forwarding: Forwarding, services: tuple[DesiredService, ...]) -> bool:
        held = frozenset(forwarding.transitions.held)
        rehearsal = Rehearsal(forwarding.kernel.spec, forwarding.copy_tables(), held)
        rehearsal.write(services, ALL)
        written, memory = forwarding.written, forwarding.kernel.bytes_with(rehearsal.spec)

        await forwarding.write(services, ALL)

        assert forwarding.written - written == rehearsal.writes
        assert owners(forwarding.copy_tables()) == owners(rehearsal.tables)
        assert forwarding.kernel.spec == rehearsal.spec
        assert forwarding.kernel.map_bytes == memory
        return rehearsal.remade

    with lab.inside("lb"):
        asyncio.run(scene())


def test_nothing_to_do_is_nothing_to_write() -> None:
    services = desired(config())
    rehearsal = Rehearsal(SPEC, Tables(slots=[0] * SPEC.capacity.slots))
    rehearsal.write(services, SPEC)
    first = rehearsal.writes
    rehearsal.write(services, SPEC)
    assert (rehearsal.writes, rehearsal.recompiled, rehearsal.remade) == (first, False, False)
