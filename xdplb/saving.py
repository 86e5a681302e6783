"""Write the state without keeping anybody waiting: what checks found, a moment after the kernel's maps were written.

Encoding takes tens of milliseconds where there are many backends, and a disk takes its time, too: so both are done in
a thread. A daemon that is killed in this moment begins with what was found before, and finds it again. What an
operator changes is written before anything else happens (`now`), and nothing older ever replaces it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from xdplb import state
from xdplb.errors import DaemonError
from xdplb.state import Kept

SHARE = 0.25  # of the time: backends that flap must not keep processor and disk busy


class Saving:
    """The state file of one balancer; `kept` is called for what to write, `ended` with why it failed, if it did."""

    def __init__(self, name: str, kept: Callable[[], Kept], ended: Callable[[DaemonError | None], None]) -> None:
        self._name, self._kept, self._ended = name, kept, ended
        self._lock = threading.Lock()
        self._number = 0  # of the newest content that was written at once
        self._due = False
        self._task: asyncio.Task[None] | None = None

    def now(self) -> None:
        """Write at once. Raises DaemonError, and then the old file stands."""
        text = state.encode(self._kept())
        with self._lock:
            self._number += 1
            state.write(self._name, text)

    def soon(self) -> None:
        """Write as soon as the loop has nothing else to do; return at once."""
        self._due = True
        if self.idle:
            self._task = asyncio.create_task(self._work())

    @property
    def idle(self) -> bool:
        """Whether nothing is being written or waits for it."""
        return self._task is None or self._task.done()

    async def _work(self) -> None:
        while self._due:
            self._due, began = False, time.monotonic()
            try:
                written = await asyncio.to_thread(self._write, copy(self._kept()), self._number)
                self._due = self._due or not written
                self._ended(None)
            except DaemonError as error:
                self._ended(error)
            await asyncio.sleep((time.monotonic() - began) * (1 / SHARE - 1))

    def _write(self, kept: Kept, number: int) -> bool:
        """Write, unless something newer has been written meanwhile; tell whether that was done."""
        text = state.encode(kept)
        with self._lock:
            if number != self._number:
                return False
            state.write(self._name, text)
            return True

    def close(self) -> None:
        """Write nothing any more but what is written at once."""
        if self._task:
            self._task.cancel()


def copy(kept: Kept) -> Kept:
    """Return what is kept as it is now, while the daemon goes on; the overrides are never changed, but replaced."""
    return replace(
        kept,
        health=dict(kept.health),
        checks=dict(kept.checks),
        traffic=dict(kept.traffic),
        verdicts=dict(kept.verdicts),
        ramps=dict(kept.ramps),
    )
