"""The daemon's side of `run --confirm`: what it attaches is on trial until somebody, or the self-test, confirms it.

The guardian (`dataplane/undo.py`) does what has to be done when nobody does; here it is started, told, and listened to.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from xdplb.dataplane import undo
from xdplb.dataplane.loader import Place
from xdplb.errors import DaemonError, KernelError

ANSWER_S = 5.0  # in which the guardian answers
UNDO_S = 30.0  # in which it is done at the latest: a NIC may need seconds to do without a program


def take_lock(file: TextIO) -> None:
    """Lock a file in which its holder's pid stands. Raises BlockingIOError with that pid.

    A guardian has it still for a moment when its daemon was killed: that one is waited for.
    """
    until = time.monotonic() + UNDO_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            if Path("/proc", pid).exists() or time.monotonic() > until:
                raise BlockingIOError(pid) from None
            time.sleep(0.02)


class Trial:
    """What is attached until further notice. `changed` is called, in the event loop, when the guardian has spoken."""

    def __init__(self, place: Place, mode: str, modes: Mapping[int, str], seconds: float) -> None:
        """Note what there is. `mode`: for what will be attached; `modes`: of our links now, by interface number."""
        self.seconds = seconds
        self.changed: Callable[[], None] = lambda: None
        self._place, self._mode, self._modes = place, mode, dict(modes)
        self._before = undo.note(place, modes)
        self._until: float | None = None  # unknown before something is attached
        self._heard = asyncio.Event()
        self._said = b""
        self._guardian: subprocess.Popen[bytes] | None = None

    async def begin(self, lock: int) -> None:
        """Start the guardian, which holds the descriptor of the lock too. Raises KernelError."""
        self._guardian = subprocess.Popen(
            [sys.executable, "-m", "xdplb.dataplane.undo"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            pass_fds=[lock],
        )
        order = {"name": self._place.name, "seconds": self.seconds, "mode": self._mode, "modes": self._modes}
        self._tell(json.dumps(order))
        loop, fd = asyncio.get_running_loop(), self._out
        os.set_blocking(fd, False)
        loop.add_reader(fd, self._hear)
        await self._wait_heard()
        if self._said != b"ready\n":
            raise KernelError("the guardian of --confirm did not start; its words are above")
        self._said = b""

    @property
    def _out(self) -> int:
        assert self._guardian is not None
        assert self._guardian.stdout is not None
        return self._guardian.stdout.fileno()

    def _tell(self, word: str) -> None:
        assert self._guardian is not None
        assert self._guardian.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what became of it is heard
            self._guardian.stdin.write(f"{word}\n".encode())

    def _hear(self) -> None:
        """Take what the guardian said, without waiting."""
        with contextlib.suppress(BlockingIOError):
            part = os.read(self._out, 65536)
            self._said += part
            if not part:
                asyncio.get_running_loop().remove_reader(self._out)
                self._said = self._said or b"died"
        if self._said:
            self._heard.set()
            self.changed()

    async def _wait_heard(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), ANSWER_S)
        self._heard.clear()

    # --- what becomes of it ---------------------------------------------------------------------------------

    @property
    def left_s(self) -> float:
        """How much of the time is left."""
        return self.seconds if self._until is None else max(0.0, self._until - time.monotonic())

    @property
    def threat(self) -> str:
        """What happens when nobody confirms."""
        return "puts the program before back" if self._before.links else "detaches"

    def attaching(self) -> None:
        """To be called before anything is attached: from the first time on, the time runs. Raises DaemonError."""
        self.check()
        if self._until is None:
            self._tell("attaching")
            self._until = time.monotonic() + self.seconds

    def check(self) -> None:
        """Raise DaemonError when it was taken back; then nothing may be attached any more."""
        self._hear()
        if self._said.startswith(b"undone "):
            raise DaemonError(f"not confirmed within {self.seconds:g} s: {self._undone()}")
        if self._said:
            done = undo.put_back(self._place, self._before, self._mode)
            raise DaemonError(f"somebody ended the guardian of --confirm: {'; '.join(done) or 'nothing was attached'}")

    def _undone(self) -> str:
        return self._said.decode().partition(" ")[2].strip()

    def changed_nothing(self) -> bool:
        """Whether everything is attached as it was before."""
        was = {index: (held.link_id, held.program_id) for index, held in self._before.links.items()}
        return was == {index: (link.id, link.program_id) for index, link in undo.linked(self._place).items()}

    async def confirm(self) -> None:
        """Have everything stay. Raises DaemonError when it is too late."""
        self.check()
        self._tell("confirmed")
        await self._wait_heard()
        if self._said != b"kept\n":
            self.check()
            raise DaemonError("the guardian of --confirm does not answer; try again")
        await self.close()

    async def close(self) -> str:
        """Let the guardian do what it has to do at the daemon's end; return what it did."""
        guardian = self._guardian
        if guardian is None:
            return "nothing had been attached"
        assert guardian.stdin is not None
        assert guardian.stdout is not None
        asyncio.get_running_loop().remove_reader(self._out)
        guardian.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(guardian.wait, UNDO_S)
        with contextlib.suppress(BlockingIOError):
            self._said += os.read(self._out, 65536)
        guardian.stdout.close()
        self._guardian = None
        for held in self._before.links.values():
            os.close(held.fd)
        return self._undone()
