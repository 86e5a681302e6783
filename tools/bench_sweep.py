"""Time a sweep of a million remembered flows, as the daemon makes it: `python -m tools.bench_sweep [FLOWS]`.

Every slot of a ring of 100 backends has moved and keeps its flows, so none can be passed over. The packet path is timed
beside it (BPF_PROG_TEST_RUN of one packet of a moved slot, on another CPU): its time must not change meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import replace
from multiprocessing import Event, Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from statistics import quantiles

from tools.bench.subjects import HASH_KEY, NEXT_MAC, OWN_MAC, SEED, SOURCES, frame, service
from xdplb.contract import CONSTANTS
from xdplb.dataplane import loader, syscall
from xdplb.desired import Hop, Overrides, desire
from xdplb.features import spec_for
from xdplb.forwarding import Forwarding
from xdplb.model import Balancer, Config, Mode
from xdplb.reconcile import needed
from xdplb.sweeper import Sweeper
from xdplb.tables import MOVED, PutSlots, slot_parts, slot_word

_LINE, _PLACES = 8, CONSTANTS["FLOWS_IN_LINE"]


def _fill(forwarding: Forwarding, flows: int) -> None:
    """Remember so many flows, each for a backend that is not its slot's."""
    kernel, draw = forwarding.kernel, Random(1)
    tables, words = kernel.tables(), kernel.flows
    size = max(row.ring_size for row in tables.services.values())
    (offset,) = {row.ring_offset for row in tables.services.values() if row.ring_size}
    ring = tables.slots[offset : offset + size]
    before = {offset + slot: slot_word(word, word % 100 + 1, MOVED) for slot, word in enumerate(ring)}
    kernel.apply([PutSlots(tables.services[min(tables.services)].identity, before)])
    for number in range(flows):
        line = number % (len(words) // _LINE)
        upper = draw.getrandbits(20)
        backend = slot_parts(before[offset + (upper * size >> 20)])[1]
        name = upper << 44 | draw.getrandbits(18) << CONSTANTS["FLOW_NAME_SHIFT"]
        words[line * _LINE + 1 + number // (len(words) // _LINE) % _PLACES] = name | 1 << 16 | backend


def _packets(program: str, out: Connection, stop: object) -> None:
    """Run single packets, and report how long each took, in ns."""
    os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)})
    run, sent, took = syscall.TestRun(syscall.get(Path(program))), frame(4, syn=False), []
    while not stop.is_set():  # type: ignore[attr-defined]
        began = time.perf_counter_ns()
        run.run(sent)
        took.append(time.perf_counter_ns() - began)
    out.send(took)


def _beside(program: str, seconds: float) -> tuple[Process, Connection, object]:
    stop = Event()
    ours, theirs = Pipe()
    process = Process(target=_packets, args=(program, theirs, stop))
    process.start()
    time.sleep(seconds)
    return process, ours, stop


def _spin(seconds: float) -> None:
    """Keep a CPU busy: two of them may share one core, and then whatever one does slows the other."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def _end(process: Process, ours: Connection, stop: object) -> str:
    stop.set()  # type: ignore[attr-defined]
    took = ours.recv()
    process.join()
    cuts = quantiles(took, n=1000)
    return f"median {cuts[499]:,.0f} ns, 99.9 % {cuts[998]:,.0f} ns of {len(took):,} packets (system calls included)"


async def _measure(flows: int) -> None:
    config = Config(Balancer(("eth0",)), (service(4, 4),))
    hops = {b.address: Hop(2, OWN_MAC, NEXT_MAC, SOURCES[4], 9000) for b in config.services[0].backends}
    desired = desire(config, Overrides(), {}, dict(hops))
    place = loader.Place(f"bench-sweep-{os.getpid()}")
    place.make()
    try:
        forwarding = Forwarding(place, {}, Mode.NATIVE)
        spec = spec_for(config, config.services, HASH_KEY, None, SEED)
        capacity = replace(spec.capacity.union(needed(desired)), flows=1 << 18)
        await forwarding.load(replace(spec, capacity=capacity))
        await forwarding.write(desired, forwarding.kernel.spec)
        _fill(forwarding, flows)
        forwarding.adopt_transitions(desired)
        sweeper = Sweeper(forwarding, lambda: None)
        program = str(forwarding.kernel.pinned.program)
        quiet = _beside(program, 2.0)
        print(f"packets without a sweep:  {_end(*quiet)}")
        os.sched_setaffinity(0, {0})
        spun = _beside(program, 0.2)
        _spin(1.0)
        print(f"beside a busy loop:       {_end(*spun)}")
        busy = _beside(program, 0.2)
        began, cpu = time.perf_counter(), time.process_time()
        whole = await sweeper.sweep()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(f"packets during the sweep: {_end(*busy)}")
        left = sum(sweeper.counts().values())
        print(f"a sweep of {left:,} remembered flows: {cpu:.2f} s of CPU, {wall:.2f} s; complete: {whole}")
    finally:
        place.remove()


if __name__ == "__main__":
    asyncio.run(_measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
