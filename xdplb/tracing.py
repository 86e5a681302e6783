"""Who traces now, and the instrumented program for as long as somebody does: in for the first, out after the last.

Each tracer has a filter of its own in the kernel, and a moment after which the kernel notes nothing more for it. So a
daemon that dies costs packets no more than a look at the clock, until the next one takes the program out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from xdplb.dataplane.kernel import Kernel
from xdplb.dataplane.trace import TRACERS, TraceMaps, monotonic_ns
from xdplb.errors import ConfigError, KernelError
from xdplb.forwarding import Forwarding
from xdplb.logs import log_event
from xdplb.traced import Filter, Record

log = logging.getLogger("xdplb")

MOST_S = 600.0  # nobody may look for longer
LINGER_S = 1.0  # who looks again and again must not have two programs compiled each time
BATCH = 500  # records before others have their turn
WAITING = 10_000  # records that a tracer may be behind with


class Tracer:
    """One who looks. `queue` holds records, each with how many packets it stands for; None: it is over."""

    def __init__(self, number: int, asked: Filter, for_s: float) -> None:
        self.number, self.asked, self.for_s = number, asked, for_s
        self.queue: asyncio.Queue[tuple[Record, int] | None] = asyncio.Queue()
        self.until = time.monotonic() + for_s
        self.missed = 0  # records that did not come here
        self.stopped = False  # before its time, by the daemon
        self.alarm: asyncio.TimerHandle | None = None

    @property
    def left_s(self) -> float:
        """How much of its time is left."""
        return max(0.0, self.until - time.monotonic())

    def take(self, record: Record) -> None:
        """Put a record into its queue, if it is not too far behind."""
        if self.queue.qsize() < WAITING:
            self.queue.put_nowait((record, self.asked.sample))
        else:
            self.missed += 1


class Tracing:
    """All tracers of one daemon."""

    def __init__(self, forwarding: Forwarding, turn: asyncio.Lock) -> None:
        """`turn`: one at a time changes the program."""
        self._forwarding, self._turn = forwarding, turn
        self._tracers: dict[int, Tracer] = {}
        self._maps: list[TraceMaps] = []  # of the program that runs; before it, of the one that did
        self._linger: asyncio.TimerHandle | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        forwarding.swapped = self._follow

    @property
    def wanted(self) -> bool:
        """Whether the program has to be the instrumented one."""
        return bool(self._tracers)

    async def open(self, asked: Filter, for_s: float) -> Tracer:
        """Begin to trace. Raises ConfigError when too many do already, KernelError."""
        free = [number for number in range(TRACERS) if number not in self._tracers]
        if not free:
            soon = min(tracer.left_s for tracer in self._tracers.values())
            raise ConfigError("trace", f"{TRACERS} are running already", f"try again in {soon:.0f} s, or end one")
        tracer = self._tracers[free[0]] = Tracer(free[0], asked, for_s)
        try:
            async with self._turn:
                await self._swap(True)
                tracer.until = time.monotonic() + for_s
                self._put(tracer)
        except BaseException:
            self.close(tracer)
            raise
        # One whose client does not read cannot end by itself.
        tracer.alarm = asyncio.get_running_loop().call_later(for_s, self.close, tracer)
        return tracer

    def change(self, tracer: Tracer, asked: Filter) -> None:
        """Go on with another filter."""
        if self._tracers.get(tracer.number) is tracer:
            for maps in self._maps:
                self._read_all(maps)
            tracer.missed, tracer.asked = self.lost(tracer), asked
            self._put(tracer)

    def lost(self, tracer: Tracer) -> int:
        """Return how many records a tracer has lost so far: the ring was full, or it was too slow."""
        if self._tracers.get(tracer.number) is not tracer:
            return tracer.missed
        return tracer.missed + sum(maps.lost(tracer.number) for maps in self._maps)

    def close(self, tracer: Tracer) -> None:
        """End a tracer; what is in its queue stays there. With the last one, the program goes."""
        if self._tracers.get(tracer.number) is not tracer:
            return
        for maps in self._maps:
            self._read_all(maps)
        tracer.missed = self.lost(tracer)
        del self._tracers[tracer.number]
        for maps in self._maps:
            maps.clear_filter(tracer.number)
        tracer.queue.put_nowait(None)
        if tracer.alarm:
            tracer.alarm.cancel()
        if not self._tracers:
            self._stop_lingering()
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._begin_to_leave)

    def stop(self) -> None:
        """End all tracers, since the daemon ends."""
        for tracer in list(self._tracers.values()):
            tracer.stopped = True
            self.close(tracer)

    async def finish(self) -> None:
        """End all tracers and take the program out."""
        self.stop()
        self._stop_lingering()
        if self._maps:
            self._begin_to_leave()
        await asyncio.gather(*self._leaving)

    # --- the program ----------------------------------------------------------------------------------------

    def _stop_lingering(self) -> None:
        if self._linger:
            self._linger.cancel()

    def _begin_to_leave(self) -> None:
        task = asyncio.create_task(self._leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave(self) -> None:
        async with self._turn:
            if self._tracers:
                return
            try:
                await self._swap(False)
            except (KernelError, OSError) as error:  # every reconcile tries it again
                text = f"the program that traces could not be taken out: {error}"
                log_event(log, logging.ERROR, "trace_stays", text, error=str(error))
            while self._maps:
                self._close_maps(self._maps.pop())

    async def _swap(self, traces: bool) -> None:
        spec = self._forwarding.kernel.spec
        if spec.trace != traces:
            await self._forwarding.become(replace(spec, trace=traces), self._forwarding.services)
        elif traces and not self._maps:  # it could not be taken out
            self._follow(self._forwarding.kernel)

    def _follow(self, kernel: Kernel) -> None:
        """Go on with the maps of another program. What the last one noted stays readable until the next one comes."""
        while len(self._maps) > 1:
            self._close_maps(self._maps.pop(0))
        if not kernel.spec.trace:
            return
        maps = TraceMaps(kernel)
        self._maps.append(maps)
        asyncio.get_running_loop().add_reader(maps.ring.fd, self._read, maps)
        for tracer in self._tracers.values():
            self._put(tracer)

    def _put(self, tracer: Tracer) -> None:
        left_ns = round(tracer.left_s * 1e9)
        self._maps[-1].put_filter(tracer.number, tracer.asked, monotonic_ns() + left_ns)

    def _close_maps(self, maps: TraceMaps) -> None:
        self._read_all(maps)
        for tracer in self._tracers.values():
            tracer.missed += maps.lost(tracer.number)
        asyncio.get_running_loop().remove_reader(maps.ring.fd)
        maps.close()

    # --- records --------------------------------------------------------------------------------------------

    def _read(self, maps: TraceMaps) -> bool:
        """Hand out some records; what is left has epoll call again. Tell whether there may be more."""
        records = maps.read(BATCH)
        for record in records:
            for number, tracer in self._tracers.items():
                if record.tracers >> number & 1:
                    tracer.take(record)
        return len(records) == BATCH

    def _read_all(self, maps: TraceMaps) -> None:
        for _ in range(maps.ring.most // BATCH + 1):
            if not self._read(maps):
                return
