"""Time a check's result from the daemon's wake to the kernel's maps: `python -m tools.bench_change` (root).

The real daemon, with its program on a lab's balancer; only probes and routes are not real. One backend after another
goes down and comes up again, nothing else happens meanwhile. Of each stage, of the time until the maps are written (and
the loop's CPU time in it, beside a busy machine) and until the daemon rests: the least, the median and the worst of
some rounds, in ms.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from tools.lab.net import Lab
from xdplb import forwarding, schedule, state
from xdplb.daemon import Daemon
from xdplb.dataplane import loader
from xdplb.dataplane.kernel import Kernel
from xdplb.desired import Health, Hop
from xdplb.events import Events
from xdplb.model import Backend, Balancer, Check, Config, Service, Vip
from xdplb.transitions import Transitions
from xdplb.upkeep import Upkeep

SIZES = ((1, 10), (1000, 20), (1, 10_000))
ROUNDS = 25
REST_S = 0.05  # between two changes: the scheduler is good to who slept
STAGES: list[tuple[object, str, str]] = [
    (Upkeep, "look", "look"),
    (schedule.Schedule, "desire", "desire"),
    (Events, "follow", "log"),
    (Daemon, "_spec", "spec"),
    (forwarding, "find_few_news", "news"),
    (forwarding, "follow", "follow"),
    (forwarding, "reconcile", "reconcile"),
    (Kernel, "apply", "apply"),
    (Transitions, "note", "note"),
    (state, "encode", "save"),
]


class Stopwatch:
    """How long each stage took, and when the maps were written."""

    def __init__(self) -> None:
        self.took: dict[str, float] = defaultdict(float)
        self.written = self.written_cpu = 0.0
        for owner, name, stage in STAGES:
            setattr(owner, name, self._timed(stage, getattr(owner, name)))

    def _timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                ended = time.perf_counter()
                self.took[stage] += ended - began
                if stage == "apply" and args[1]:
                    self.written, self.written_cpu = ended, time.thread_time()

        return timed


def configure(services: int, backends: int, name: str) -> Config:
    """Return so many services, of so many backends each."""
    first, vip = IPv4Address("10.64.0.1"), IPv4Address("10.9.0.1")
    return Config(
        Balancer(("eth0",), name),
        tuple(
            Service(
                f"web{s}",
                (Vip(vip + s, 80),),
                tuple(Backend(f"b{n}", first + s * backends + n) for n in range(backends)),
                (Check(80),),
            )
            for s in range(services)
        ),
    )


async def begin(config: Config) -> Daemon:
    """Return a daemon that forwards, with every backend up."""
    found = Daemon(Path("bench.toml"), config)
    hop = Hop(found.network.indexes[0], bytes(6), bytes(6), ip_address("10.0.2.2"), 1600)
    for service in config.services:
        for backend in service.backends:
            found.network.hops[backend.address] = hop
            found.checks.health[service.name, backend.name] = Health(True, "tcp connected in 0.2 ms")
    await found.forwarding.load(found._spec(None))
    await found.reconcile()
    await found.forwarding.attach()
    return found


async def change(running: Daemon, watch: Stopwatch, key: tuple[str, str], up: bool) -> dict[str, float]:
    """Report one backend; return the times of its way in ms."""
    watch.took.clear()
    watch.written, before = 0.0, running.last
    await asyncio.sleep(REST_S)
    began, began_cpu = time.perf_counter(), time.thread_time()
    running.checks.health[key] = Health(up, "tcp connected in 0.2 ms" if up else "tcp refused")
    running._wake.set()
    while running.last is before or running.turn.locked():
        await asyncio.sleep(0)
    ended = time.perf_counter()
    while not running.saving.idle:
        await asyncio.sleep(0.001)
    if not watch.written:
        raise SystemExit(f"{key} is {up=} and nothing was written: {running.last}")
    times = {stage: took * 1e3 for stage, took in watch.took.items()}
    times["to the maps"], times["all"] = (watch.written - began) * 1e3, (ended - began) * 1e3
    return {**times, "of CPU": (watch.written_cpu - began_cpu) * 1e3}


async def measure(services: int, backends: int, watch: Stopwatch) -> None:
    """Print a line for each direction."""
    draw, name = Random(1), f"bench-change-{os.getpid()}"
    config = configure(services, backends, name)
    running = await begin(config)
    task = asyncio.create_task(running.run())
    keys = [(s.name, b.name) for s in config.services for b in s.backends]
    rounds: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for key in [keys[0], *draw.choices(keys, k=ROUNDS)]:
        for up in (False, True):
            rounds[up].append(await change(running, watch, key, up))
        if key == keys[0]:  # the first one finds what is made once
            rounds = {False: [], True: []}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await running.close()
    for up, measured in rounds.items():
        columns = [*(stage for _, _, stage in STAGES), "to the maps", "of CPU", "all"]
        times = {column: sorted(took.get(column, 0.0) for took in measured) for column in columns}
        line = "  ".join(f"{column} {took[0]:.2f}/{median(took):.2f}/{took[-1]:.2f}" for column, took in times.items())
        print(f"{services:>5,} x {backends:<6,} {'up  ' if up else 'down'}  {line}", flush=True)


def main() -> None:
    """Measure every size, or the one that is asked for: SERVICES BACKENDS."""
    sizes = [(int(sys.argv[1]), int(sys.argv[2]))] if len(sys.argv) > 2 else SIZES
    logging.disable(logging.WARNING)
    watch = Stopwatch()
    place = loader.Place(f"bench-change-{os.getpid()}")
    with Lab(f"change-{os.getpid()}", backends=0) as lab:
        for services, backends in sizes:
            place.make()
            try:
                with lab.inside("lb"):
                    asyncio.run(measure(services, backends, watch))
            finally:
                loader.detach(place)
                place.remove()
                shutil.rmtree(state.directory(place.name), ignore_errors=True)


if __name__ == "__main__":
    main()
