"""The program that traces comes and goes under traffic, and no packet is lost by it.

    client ── router ══ lb ⟲

A client's datagrams; where the balancer sends them does not matter here, only that each is counted once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.rig.packets import BACKENDS4, config, service
from tests.rig.xdp import SPEC, desired
from tests.test_forwarding import play
from tests.test_traced import RECORD
from tools.lab.net import VIP4, Lab
from xdplb import tracing as timing
from xdplb.dataplane import loader
from xdplb.errors import ConfigError
from xdplb.forwarding import Forwarding
from xdplb.model import Mode, Protocol, Vip
from xdplb.traced import Filter
from xdplb.tracing import Tracer, Tracing

SMALL = replace(SPEC, vip6=False, ipip6=False)
DNS = service("dns", BACKENDS4, vips=(Vip(ip_address(VIP4), 53, Protocol.UDP),), ring_size=64)
SERVICES = desired(config(DNS))
PATIENCE_S = 15.0


@contextlib.contextmanager
def sending(lab: Lab) -> Iterator[list[int]]:
    """Send datagrams without end; yields how many there were so far."""
    sent, over = [0], threading.Event()
    with lab.inside("client"):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((VIP4, 53))

    def send() -> None:
        while not over.wait(0.0005):
            client.send(b"question")
            sent[0] += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()
        client.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


def counted(forwarding: Forwarding) -> int:
    return sum(traffic.packets for traffic in forwarding.kernel.traffic().values())


async def begin(forwarding: Forwarding) -> Tracing:
    await forwarding.load(SMALL)
    await forwarding.write(SERVICES, SMALL)
    await forwarding.attach()
    return Tracing(forwarding, asyncio.Lock())


async def first(tracer: Tracer) -> int:
    """Wait for a record; return how long its frame was."""
    item = await asyncio.wait_for(tracer.queue.get(), PATIENCE_S)
    assert item
    return item[0].length


def test_the_program_comes_and_goes_under_traffic_and_every_packet_is_counted(
    lab: Lab, place: loader.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "LINGER_S", 0.1)

    async def scene(forwarding: Forwarding) -> None:
        tracing = await begin(forwarding)
        with sending(lab) as sent:
            await until(lambda: counted(forwarding) > 50, "traffic before")
            one = await tracing.open(Filter(), 60)
            assert await first(one) == 14 + 20 + 8 + len(b"question")
            two = await tracing.open(Filter(port=53), 60)
            assert forwarding.kernel.spec.trace
            await forwarding.write(SERVICES, replace(SMALL, trace=tracing.wanted))  # as any reconcile does
            await first(two)
            tracing.close(one)
            assert forwarding.kernel.spec.trace
            tracing.close(two)
            await until(lambda: not forwarding.kernel.spec.trace, "the program without")
            assert forwarding.kernel.pinned.adopted  # it was at hand
            before = counted(forwarding)
            await until(lambda: counted(forwarding) > before + 50, "traffic afterwards")
        assert (tracing.lost(one), tracing.lost(two)) == (0, 0)
        await until(lambda: counted(forwarding) == sent[0], f"{sent[0]} sent, all counted")
        assert not list(forwarding.kernel.pinned.folder.glob("own_*"))
        await tracing.finish()

    play(lab, place, scene)


def test_tracers_end_at_their_time_go_on_over_other_tables_and_are_not_too_many(lab: Lab, place: loader.Place) -> None:
    """In generic mode, in which tracing is the same."""
    larger = replace(SMALL.capacity, backends=512)

    async def scene(forwarding: Forwarding) -> None:
        tracing = await begin(forwarding)
        with sending(lab):
            short, long, *others = [await tracing.open(Filter(), for_s) for for_s in (0.2, 60, 60, 60)]
            with pytest.raises(ConfigError, match="trace: 4 are running already; try again in 0 s"):
                await tracing.open(Filter(), 60)
            await until(lambda: short.number not in tracing._tracers, "the end of the short one")
            items = [short.queue.get_nowait() for _ in range(short.queue.qsize())]
            assert items[0] is not None
            assert items[-1] is None  # after its last record
            for other in others:
                tracing.close(other)

            await forwarding.become(replace(forwarding.kernel.spec, capacity=larger), SERVICES)
            after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            await until(lambda: newest(long) > after, "records of the other program")
        tracing.stop()
        assert long.stopped
        assert not tracing.wanted

    async def next_start(forwarding: Forwarding) -> None:
        """After a daemon that died before the program was out."""
        await forwarding.load(replace(SMALL, capacity=larger))
        assert not forwarding.kernel.spec.trace

    play(lab, place, scene, Mode.GENERIC)
    play(lab, place, next_start, Mode.GENERIC)


def newest(tracer: Tracer) -> int:
    """The time of the last record that has come, or 0."""
    items = [tracer.queue.get_nowait() for _ in range(tracer.queue.qsize())]
    return items[-1][0].time if items and items[-1] else 0


def test_who_does_not_read_loses_records_and_memory_stays_bounded() -> None:
    async def scene() -> Tracer:
        tracer = Tracer(0, Filter(), 10)
        for _ in range(timing.WAITING + 7):
            tracer.take(RECORD)
        return tracer

    tracer = asyncio.run(scene())
    assert (tracer.queue.qsize(), tracer.missed) == (timing.WAITING, 7)
