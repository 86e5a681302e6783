"""Read what the program counts of SYNs again and again, and say of whom traffic speaks ill. `health/passive` judges.

Counters are compared in blocks as they lie in memory, so that those that stand still cost next to nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from xdplb.contract import CONSTANTS
from xdplb.dataplane.kernel import Kernel
from xdplb.desired import DesiredService, Key
from xdplb.forwarding import Forwarding
from xdplb.health.passive import Counts, Judge

MOMENT_S = CONSTANTS["MOMENT_MS"] / 1000  # between two looks, and how long a SYN keeps its place at least
PROGRESS_WORDS = CONSTANTS["PROGRESS_WORDS"]
SHARE = 0.2  # of a CPU at the most: looks become rarer when very many counters change
IDLE_S = 1.0  # between two looks when no service wants any
ROW = 4 * PROGRESS_WORDS  # bytes
PARTS = 16  # of a block
BLOCK = PARTS * PARTS * ROW


class Passive:
    """What traffic says about a balancer's backends."""

    def __init__(self, forwarding: Forwarding, suspected: Callable[[Key, str], None]) -> None:
        """`suspected` is called, in the event loop, with a backend that seems not to answer, and why."""
        self._forwarding, self._suspected = forwarding, suspected
        self._judge = Judge()
        self._kernel: Kernel | None = None  # whose counters were read last
        self._services: Sequence[DesiredService] | None = None  # as they were then
        self._keys: dict[int, Key] = {}  # by backend's identity
        self._rows: dict[int, int] = {}  # identities by index
        self._words = 0  # of the counters that may be in use
        self._seen = b""  # them, at the last look

    async def run(self) -> None:
        """Look for ever."""
        while True:
            began = time.thread_time()
            looked = self.look(time.monotonic())
            pause_s = MOMENT_S if looked else IDLE_S
            await asyncio.sleep(max(pause_s, (time.thread_time() - began) / SHARE))

    def look(self, now: float) -> bool:
        """Look once; False when there is nothing to look at."""
        kernel = self._forwarding.kernel
        if not kernel.spec.passive:
            self._kernel = None
            return False
        kernel.moment = int(now / MOMENT_S)
        if kernel is not self._kernel or self._forwarding.services is not self._services:
            self._follow(kernel)
        before, self._seen = self._seen, kernel.progress[: self._words].tobytes()
        changed = {self._rows[at]: counts for at, counts in _changes(before, self._seen) if at in self._rows}
        for suspicion in self._judge.judge(now, changed):
            self._suspected(self._keys[suspicion.backend], suspicion.cause)
        return True

    def _follow(self, kernel: Kernel) -> None:
        """Find out which counters are whose. Those of other tables say nothing about what was counted before."""
        services = self._forwarding.services
        self._keys = {b.identity: (s.name, b.backend.name) for s in services if s.passive for b in s.backends}
        rows = kernel.tables().backends
        self._rows = {index: row.identity for index, row in rows.items() if row.identity in self._keys}
        self._words = PROGRESS_WORDS * (max(self._rows, default=-1) + 1)
        self._judge.follow({identity: self._keys[identity][0] for identity in self._rows.values()})
        if kernel is not self._kernel:
            self._seen = kernel.progress[: self._words].tobytes()
            counts = _changes(b"", self._seen)
            self._judge.rebase({self._rows[at]: of_row for at, of_row in counts if at in self._rows})
        self._kernel, self._services = kernel, services


def _changes(before: bytes, now: bytes) -> Iterator[tuple[int, Counts]]:
    """Yield the rows that differ, by their numbers."""
    if before != now:
        for at in _differing(before, now, 0, len(now), BLOCK):
            yield at // ROW, Counts(*memoryview(now[at : at + ROW]).cast("I")[:3])


def _differing(before: bytes, now: bytes, first: int, last: int, step: int) -> Iterator[int]:
    """Yield where rows that differ begin: blocks of them are compared, and the parts of those that differ."""
    for at in range(first, last, step):
        end = min(at + step, last)
        if before[at:end] != now[at:end]:
            if step == ROW:
                yield at
            else:
                yield from _differing(before, now, at, end, step // PARTS)
