"""Time scrapes of a daemon with ten thousand backends: `python -m tools.bench_metrics` (root).

The real daemon, with its program on a lab's balancer; only probes and routes are not real. A client in another process
scrapes `/metrics` over the admin socket; of the whole answer: the least, the median and the worst time in ms, `cold`
when all slots have to be counted first. Beside it, how late the daemon's loop was at the worst for one who wanted a
turn each millisecond, and the most CPU time that something else took before it, with and without scrapes. Forwarding is
not in this: a scrape reads the counters by one call, and takes no lock that a packet waits for.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from statistics import median

from tools.bench_change import begin, configure
from tools.lab.net import Lab
from xdplb import state
from xdplb.admin.server import serve, take_socket
from xdplb.daemon import SWITCH_S, Daemon
from xdplb.dataplane import loader

SIZES = ((20, 500), (1, 10_000))
ROUNDS = 10
TICK_S = 0.001
CLIENT = """
import sys, time
from pathlib import Path
from xdplb.admin.client import Client
began = time.perf_counter()
text = Client(Path(sys.argv[1])).metrics()
print(time.perf_counter() - began, len(text), flush=True)
"""


async def scrape(path: Path) -> tuple[float, int]:
    """Return seconds and bytes of one scrape."""
    argv = [sys.executable, "-c", CLIENT, str(path)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    seconds, size = (await process.communicate())[0].split()
    return float(seconds), int(size)


async def watch_loop(late: list[tuple[float, float]]) -> None:
    """Note how late each turn comes, and how much of that was CPU time of this thread."""
    while True:
        due, used = time.perf_counter() + TICK_S, time.thread_time()
        await asyncio.sleep(TICK_S)
        late.append((time.perf_counter() - due, time.thread_time() - used))


def tell(late: list[tuple[float, float]]) -> str:
    """Return the worst of what was noted, and begin anew."""
    wall, cpu = (max(column) * 1e3 for column in zip(*late, strict=True))
    late.clear()
    return f"{wall:.1f} ms ({cpu:.1f} of CPU)"


async def start_clients() -> None:
    """Start as many processes as there are scrapes, which do nothing."""
    for _ in range(2 * ROUNDS):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import xdplb.admin.client")
        await process.wait()


async def measure(services: int, backends: int) -> None:
    """Print a line for one size."""
    running: Daemon = await begin(configure(services, backends, f"bench-metrics-{os.getpid()}"))
    path = running.place.run / "admin.sock"
    runner = await serve(running, take_socket(path))
    gc.freeze()  # as `Daemon.run` does
    late: list[tuple[float, float]] = []
    watching = asyncio.create_task(watch_loop(late))
    await start_clients()
    idle = tell(late)
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    size = 0
    for _ in range(ROUNDS):
        running._slots = None
        for kind in times:
            took, size = await scrape(path)
            times[kind].append(took * 1e3)
    told = "  ".join(f"{kind} {min(t):.0f}/{median(t):.0f}/{max(t):.0f}" for kind, t in times.items())
    lateness = f"loop late by {tell(late)}, without scrapes by {idle}"
    print(f"{services:>5,} x {backends:<6,}  {told}  {size / 1e6:.1f} MB  {lateness}", flush=True)
    watching.cancel()
    await runner.cleanup()
    await running.close()


def main() -> None:
    """Measure every size, or the one that is asked for: SERVICES BACKENDS."""
    sizes = [(int(sys.argv[1]), int(sys.argv[2]))] if len(sys.argv) > 2 else SIZES
    logging.disable(logging.WARNING)
    sys.setswitchinterval(SWITCH_S)
    place = loader.Place(f"bench-metrics-{os.getpid()}")
    with Lab(f"metrics-{os.getpid()}", backends=0) as lab:
        for services, backends in sizes:
            place.make()
            try:
                with lab.inside("lb"):
                    asyncio.run(measure(services, backends))
            finally:
                loader.detach(place)
                place.remove()
                shutil.rmtree(state.directory(place.name), ignore_errors=True)


if __name__ == "__main__":
    main()
