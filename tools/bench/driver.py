"""Time one program: `driver.c` is run by BPF_PROG_TEST_RUN, and calls the program once a turn."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from xdplb.dataplane import layout, syscall
from xdplb.dataplane.loader import Place, Request, obtain

HERE = Path(__file__).resolve().parent
XDP_TX = 3
WARM_SHARE = 4  # of the turns, one in so many runs before the clock does


class NotProven(Exception):
    """Some turn did not do what it was timed for, so its time means nothing."""


def request(source: str, function: str, **defines: int) -> Request:
    """Return the order for a program of this folder; it names its maps itself."""
    path = str(HERE / source)  # absolute: it does not lie in `bpf/`
    return Request(path, function, (path,), {}, defines)


class Driver:
    """The driver for frames of one family, 4 or 6."""

    def __init__(self, place: Place, family: int) -> None:
        """Compile and load. Raises KernelError."""
        self._family = family
        pinned = obtain(place, request("driver.c", "driver", FAMILY=family))
        self._fd = syscall.get(pinned.program)
        self._programs = syscall.get(pinned.folder / "programs")
        state = syscall.get(pinned.folder / "state")
        memory = mmap.mmap(state, mmap.PAGESIZE)
        os.close(state)
        self._state: Any = layout.build(pinned.maps["state"]["value"]).from_buffer(memory)

    def close(self) -> None:
        """Give the descriptors back; the pins stay, the memory goes with its last user."""
        os.close(self._programs)
        os.close(self._fd)

    def time(
        self, program: int, frame: bytes, flows: int, turns: int, grows: int, action: int = XDP_TX, vips: int = 1
    ) -> float:
        """Return the ns of a turn, driver included, with each frame of any one of `flows` flows, to so many VIPs.

        Every turn's frame must have grown by `grows` bytes, and the last turn end in `action`. Raises NotProven.
        """
        syscall.update(self._programs, bytes(4), program.to_bytes(4, "little"))
        self._state.vips = vips
        self._run(frame, flows, max(turns // WARM_SHARE, 1), grows, action)
        return self._run(frame, flows, turns, grows, action) / turns

    def _run(self, frame: bytes, flows: int, turns: int, grows: int, wanted: int) -> int:
        state = self._state
        end = 34 if self._family == 4 else 54
        state.first_vip = int.from_bytes(frame[end - 4 : end], "big")
        state.flows, state.frame_bytes, state.turns, state.grown_bytes = flows, len(frame), 0, 0
        # This thread's own time: the call waits for other CPUs (RCU), and other processes want this one too. What the
        # kernel says itself is rounded to whole ns.
        began_ns = time.thread_time_ns()
        action, left, _ = syscall.test_run(self._fd, frame, turns)
        took_ns = time.thread_time_ns() - began_ns
        grown = state.grown_bytes + len(left) - len(frame)  # the last turn's is still on
        if (action, state.turns, grown) != (wanted, turns, turns * grows):
            raise NotProven(f"action {action}, {state.turns} of {turns} turns, grown {grown}, not {turns * grows}")
        return took_ns


@contextmanager
def drivers(place: Place) -> Iterator[dict[int, Driver]]:
    """Both drivers, by family."""
    with closing(Driver(place, 4)) as four, closing(Driver(place, 6)) as six:
        yield {4: four, 6: six}
