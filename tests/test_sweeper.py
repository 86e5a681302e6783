"""The sweep in the kernel's tables: it ends what has ended, counts what is left, and does nothing when nothing is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from tests.rig.packets import BACKENDS4, config, service, tcp
from tests.rig.xdp import SPEC, desired
from tools.lab.net import Lab
from xdplb.dataplane import loader, syscall
from xdplb.desired import DesiredService
from xdplb.forwarding import Forwarding
from xdplb.model import Mode
from xdplb.net import interface_index
from xdplb.reconcile import reconcile
from xdplb.sweeper import Sweeper

WINDOW_S = 0.05
Worlds = tuple[tuple[DesiredService, ...], tuple[DesiredService, ...]]


@pytest.fixture
def worlds() -> Worlds:
    """One backend, then two."""
    one, two = (
        desired(config(replace(service(backends=BACKENDS4[:n], ring_size=64), learn_window_s=WINDOW_S))) for n in (1, 2)
    )
    return one, two


def play(lab: Lab, place: loader.Place, scene: Callable[[Forwarding, Sweeper], Awaitable[None]]) -> None:
    async def whole() -> None:
        forwarding = Forwarding(place, {"eth0": interface_index("eth0")}, Mode.NATIVE)
        await forwarding.load(SPEC)
        await scene(forwarding, Sweeper(forwarding, lambda: None))

    with lab.inside("lb"):
        asyncio.run(whole())


def send(forwarding: Forwarding, ports: range, flags: str) -> dict[int, str]:
    """Send a packet of each flow; return where it went."""
    fd = syscall.get(forwarding.kernel.pinned.program)
    try:
        return {port: Ether(syscall.test_run(fd, bytes(tcp(port, flags=flags)))[1])[IP].dst for port in ports}
    finally:
        os.close(fd)


def words_of(forwarding: Forwarding) -> set[int]:
    """Everything that is remembered."""
    return set(forwarding.kernel.flows.tolist())


async def until_settled(forwarding: Forwarding, sweeper: Sweeper, services: tuple[DesiredService, ...]) -> int:
    """Sweep and write as the daemon does; return how many times."""
    for turn in range(100):
        if not forwarding.transitions.remembers:
            return turn
        await forwarding.write(services, SPEC)
        assert await sweeper.sweep()
        await asyncio.sleep(WINDOW_S / 2)
    raise AssertionError("never settled")


def test_flows_keep_their_slots_from_settling_until_they_end(lab: Lab, place: loader.Place, worlds: Worlds) -> None:
    one, two = worlds
    old, new = (b.identity for b in two[0].backends)

    async def scene(forwarding: Forwarding, sweeper: Sweeper) -> None:
        await forwarding.write(one, SPEC)
        await until_settled(forwarding, sweeper, one)
        assert (sweeper.flows_left(old), sweeper.busy(old)) == (0, False)
        await forwarding.write(two, SPEC)
        assert (sweeper.flows_left(old), sweeper.busy(old)) == (None, True)
        went = send(forwarding, range(1000, 1100), "A") | send(forwarding, range(2000, 2100), "S")
        assert len(set(went.values())) == 2

        assert await sweeper.sweep()
        left = sweeper.flows_left(old)
        assert left
        assert sweeper.flows_left(new)
        assert sweeper.busy(old)
        until = time.monotonic() + 5
        while not forwarding.transitions.learned(time.monotonic()):
            assert time.monotonic() < until
            await asyncio.sleep(0.005)
        for _ in range(3):
            await forwarding.write(two, SPEC)
            assert await sweeper.sweep()

        assert sweeper.flows_left(old) == left  # nobody has ended
        assert (sweeper.flows_left(new), sweeper.busy(old)) == (0, False)
        assert send(forwarding, range(1000, 1100), "A") | send(forwarding, range(2000, 2100), "A") == went
        assert not forwarding.transitions.settled
        clock = sweeper._clock
        assert clock is not None
        for _ in range(200):  # hours
            clock.advance(32.0)
        await until_settled(forwarding, sweeper, two)
        assert words_of(forwarding) == {0}

    play(lab, place, scene)


def test_flows_that_close_are_over_soon(lab: Lab, place: loader.Place, worlds: Worlds) -> None:
    one, two = worlds
    old = two[0].backends[0].identity

    async def scene(forwarding: Forwarding, sweeper: Sweeper) -> None:
        await forwarding.write(one, SPEC)
        await forwarding.write(two, SPEC)
        send(forwarding, range(1000, 1050), "A")
        send(forwarding, range(1000, 1025), "FA")
        send(forwarding, range(1000, 1025), "A")  # acknowledges what came after it
        await sweeper.sweep()
        before, clock = sweeper.flows_left(old), sweeper._clock
        assert before
        assert clock is not None
        for _ in range(4):
            clock.advance(31.0)
        await sweeper.sweep()
        after = sweeper.flows_left(old)
        assert after
        assert 0 < after < before

    play(lab, place, scene)


def test_a_change_in_the_middle_of_a_pass_ends_it(lab: Lab, place: loader.Place, worlds: Worlds) -> None:
    one, two = worlds

    async def scene(forwarding: Forwarding, sweeper: Sweeper) -> None:
        await forwarding.write(one, SPEC)
        await forwarding.write(two, SPEC)
        send(forwarding, range(1000, 1200), "A")
        changes = reconcile(one, forwarding.kernel.tables(), SPEC.capacity, SPEC.seed)
        sweeping = asyncio.create_task(sweeper.sweep())
        await asyncio.sleep(0)  # the first piece
        assert not sweeping.done()
        forwarding.kernel.apply(changes)
        forwarding.transitions.note(changes, one, time.monotonic())
        assert not await sweeping
        assert sweeper.flows_left(two[0].backends[0].identity) is None

    play(lab, place, scene)


def test_an_index_is_nobody_elses_while_flows_may_be_remembered_for_it(
    lab: Lab, place: loader.Place, worlds: Worlds
) -> None:
    one, two = worlds
    other = desired(config(replace(service(backends=BACKENDS4[1:3], ring_size=64), learn_window_s=WINDOW_S)))

    async def scene(forwarding: Forwarding, sweeper: Sweeper) -> None:
        await forwarding.write(one, SPEC)
        (gone,) = forwarding.kernel.tables().backends
        await forwarding.write(two, SPEC)
        send(forwarding, range(1000, 1100), "A")
        await forwarding.write(other, SPEC)
        assert gone not in forwarding.kernel.tables().backends
        assert forwarding.transitions.held == {gone}
        await forwarding.write(two, SPEC)
        assert gone not in forwarding.kernel.tables().backends
        await sweeper.sweep()
        assert forwarding.transitions.held != {gone}
        await until_settled(forwarding, sweeper, two)
        assert not forwarding.transitions.held
        assert not [word for word in words_of(forwarding) if word & 0xFFFF == gone and word >> 16]

    play(lab, place, scene)


def test_all_flows_can_be_forgotten(lab: Lab, place: loader.Place, worlds: Worlds) -> None:
    one, two = worlds

    async def scene(forwarding: Forwarding, sweeper: Sweeper) -> None:
        await forwarding.write(one, SPEC)
        await forwarding.write(two, SPEC)
        send(forwarding, range(1000, 1100), "S")
        await sweeper.sweep()
        assert sum(sweeper.counts().values())
        sweeper.forget()
        assert words_of(forwarding) == {0}
        assert sweeper.flows_left(two[0].backends[0].identity) is None

    play(lab, place, scene)
