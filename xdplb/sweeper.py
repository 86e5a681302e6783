"""Sweep the remembered flows again and again, as long as there are any: a little at a time, for a share of a CPU.

What a sweep finds lets slots settle (`forwarding`), and says how many flows each backend has left. Packets never wait
for it: it reads the table that the program writes, and frees single places in it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from xdplb.dataplane.kernel import Kernel
from xdplb.forwarding import Forwarding
from xdplb.sweep import CHUNK, Clock, Look, count_flows, look_for
from xdplb.tables import NO_BACKEND

PAUSE_S = 1.0  # between two passes
SHARE = 0.1  # of a CPU
_FREE = bytes(8 * CHUNK)


class Sweeper:
    """What is known of the flows that a balancer remembers."""

    def __init__(self, forwarding: Forwarding, swept: Callable[[], None]) -> None:
        """`swept` is called after each pass."""
        self._forwarding, self._swept = forwarding, swept
        self._clock: Clock | None = None
        self._ticked = 0.0
        self._look: Look | None = None  # the last whole one
        self._of = -1  # the slots' generation that it was of
        self._indexes: dict[int, int] = {}  # by identity, then

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            began = time.thread_time()
            if self._forwarding.transitions.remembers and not await self.sweep():
                self._swept()
            await asyncio.sleep(max(PAUSE_S, (time.thread_time() - began) / SHARE))

    def flows_left(self, identity: int) -> int | None:
        """Return how many flows are remembered for a backend; None: not counted since the slots changed."""
        if not self._forwarding.transitions.remembers:
            return 0
        if self._look is None or self._of != self._forwarding.transitions.generation:
            return None
        return self._look.count(self._indexes.get(identity, NO_BACKEND))

    def busy(self, identity: int) -> bool:
        """Whether some slot is still learning which of its flows are a backend's."""
        if not self._forwarding.transitions.remembers:
            return False
        if self._look is None or self._of != self._forwarding.transitions.generation:
            return True
        return self._look.moving_from[self._indexes.get(identity, -1)] > 0

    def counts(self) -> dict[int, int]:
        """Return the remembered flows by backend's identity, as the last pass found them."""
        if not self._forwarding.transitions.remembers or self._look is None:
            return {}
        return {identity: self._look.count(index) for identity, index in self._indexes.items()}

    async def sweep(self) -> bool:
        """Make one pass; False when the slots changed meanwhile, and it came to nothing."""
        forwarding, kernel = self._forwarding, self._forwarding.kernel
        self._tick()
        generation, held = forwarding.transitions.generation, set(forwarding.transitions.held)
        if forwarding.transitions.settled:
            return await self._wipe(generation, held)
        assert self._clock
        look = look_for(forwarding.services, kernel.tables(), self._clock)
        for flows, at in _pieces(kernel):
            if _sweep_piece(flows, at, look):
                await asyncio.sleep(0)
                if forwarding.transitions.generation != generation or forwarding.kernel is not kernel:
                    return False
        self._look, self._of = look, generation
        self._indexes = {row.identity: index for index, row in kernel.tables().backends.items()}
        forwarding.transitions.held -= held
        forwarding.transitions.without_flows = look.without_flows()
        self._swept()
        return True

    async def _wipe(self, generation: int, held: set[int]) -> bool:
        """Empty the table, when no slot needs it any more."""
        forwarding, kernel = self._forwarding, self._forwarding.kernel
        for flows, at in _pieces(kernel):
            if _wipe_piece(flows, at):
                await asyncio.sleep(0)
                if forwarding.transitions.generation != generation or forwarding.kernel is not kernel:
                    return False
        forwarding.transitions.remembers = False
        forwarding.transitions.held -= held
        self._look = None
        self._swept()
        return True

    def forget(self) -> int:
        """Forget all flows, as an operator wishes: those of slots that are not settled may break. Return how many."""
        kernel = self._forwarding.kernel
        forgotten = sum(count_flows(flows.tolist()) for flows in (kernel.learned, kernel.born))
        for flows, at in _pieces(kernel):
            _wipe_piece(flows, at)
        self._look = None
        return forgotten

    def _tick(self) -> None:
        now, kernel = time.monotonic(), self._forwarding.kernel
        if self._clock is None:
            self._clock = Clock.from_word(kernel.stamp)
        else:
            self._clock.advance(now - self._ticked)
        self._ticked = now
        kernel.stamp = self._clock.word


# Views of a piece must be gone before anybody else has a turn: a table can only be unmapped without any.


def _pieces(kernel: Kernel) -> list[tuple[memoryview, int]]:
    """Return both tables, and where each piece of them begins."""
    return [(flows, at) for flows in (kernel.learned, kernel.born) for at in range(0, len(flows), CHUNK)]


def _sweep_piece(flows: memoryview, at: int, look: Look) -> bool:
    """Take a piece, free what may be forgotten; tell whether there was anything."""
    with flows[at : at + CHUNK] as piece, piece.cast("B") as raw:
        if raw == _FREE[: len(raw)]:
            return False
        words = piece.tolist()
        for place in look.take(words):
            if piece[place] == words[place]:  # and has not been seen again meanwhile
                piece[place] = 0
        return True


def _wipe_piece(flows: memoryview, at: int) -> bool:
    """Empty a piece; tell whether there was anything."""
    with flows[at : at + CHUNK].cast("B") as raw:
        if raw == _FREE[: len(raw)]:
            return False
        raw[:] = _FREE[: len(raw)]
        return True
