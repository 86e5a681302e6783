"""What is rehearsed is what the real program's tables then come to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

from tests.rig.packets import BACKENDS4, config, service
from tests.rig.xdp import SPEC, desired
from tests.test_forwarding import TINY
from tools.lab.net import Lab
from tools.plan_check import World
from xdplb.dataplane import loader
from xdplb.forwarding import Forwarding
from xdplb.model import Mode
from xdplb.plan import owners
from xdplb.rehearsal import Rehearsal
from xdplb.tables import Tables

ALL = replace(SPEC, gue4=True, gue6=True, limits=True, client=True, ranges=True)


def rehearse(forwarding: Forwarding) -> Rehearsal:
    held = frozenset(forwarding.transitions.held)
    return Rehearsal(forwarding.kernel.spec, forwarding.copy_tables(), held)


def test_the_kernel_is_written_as_it_was_rehearsed(lab: Lab, place: loader.Place) -> None:
    """The program can do everything from the beginning: so most changes need no compiler, and many can be made."""

    async def scene() -> None:
        forwarding, world = Forwarding(place, {"eth0": 1}, Mode.NATIVE), World(Random(5), config(service()))
        await forwarding.load(ALL)
        for _ in range(40):
            services = world.services(world.memo)
            rehearsal, written = rehearse(forwarding), forwarding.written
            rehearsal.write(services, ALL)

            await forwarding.write(services, ALL)

            assert forwarding.written - written == rehearsal.writes
            assert owners(forwarding.copy_tables()) == owners(rehearsal.tables)
            assert forwarding.kernel.spec == rehearsal.spec
            assert forwarding.kernel.map_bytes == forwarding.kernel.bytes_with(rehearsal.spec)
            world.change()
        forwarding.kernel.close()

    with lab.inside("lb"):
        asyncio.run(scene())


def test_larger_tables_are_rehearsed_with_their_memory(lab: Lab, place: loader.Place) -> None:
    async def scene() -> None:
        forwarding = Forwarding(place, {"eth0": 1}, Mode.NATIVE)
        await forwarding.load(TINY)
        await forwarding.write(desired(config(service(backends=BACKENDS4[:2]))), TINY)
        wide = desired(config(service(ring_size=4096)))
        rehearsal, written = rehearse(forwarding), forwarding.written
        rehearsal.write(wide, TINY)
        memory = forwarding.kernel.bytes_with(rehearsal.spec)

        await forwarding.write(wide, TINY)

        assert (rehearsal.remade, rehearsal.recompiled) == (True, True)
        assert (forwarding.written - written, forwarding.kernel.map_bytes) == (rehearsal.writes, memory)
        forwarding.kernel.close()

    with lab.inside("lb"):
        asyncio.run(scene())


def test_nothing_to_do_is_nothing_to_write() -> None:
    services = desired(config())
    rehearsal = Rehearsal(SPEC, Tables(slots=[0] * SPEC.capacity.slots))
    rehearsal.write(services, SPEC)
    first = rehearsal.writes
    rehearsal.write(services, SPEC)
    assert (rehearsal.writes, rehearsal.recompiled, rehearsal.remade) == (first, False, False)
