"""Processes that cannot be mistaken for others: a pid alone may have been given to somebody else meanwhile."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

TERM_PATIENCE_S, KILL_PATIENCE_S = 2.0, 2.0


class Process(NamedTuple):
    """A pid, and when it began, in clock ticks since boot (proc(5), field 22 of stat)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has this pid now. Raises ProcessLookupError."""
        return _parse(_read_stat(pid)).process

    @property
    def alive(self) -> bool:
        """It runs still; a zombie does not."""
        with suppress(ProcessLookupError):
            stat = _parse(_read_stat(self.pid))
            return stat.process == self and stat.running
        return False


class _Stat(NamedTuple):
    process: Process
    running: bool
    session: int


def _read_stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"no process {pid}") from None


def _parse(stat: str) -> _Stat:
    fields = stat.rpartition(")")[2].split()  # from field 3 on: the name before may hold anything
    pid = int(stat.split(maxsplit=1)[0])
    return _Stat(Process(pid, int(fields[19])), fields[0] not in "ZX", int(fields[3]))


def end(processes: Collection[Process]) -> None:
    """End processes and what is in the sessions that they lead: SIGTERM, then SIGKILL to those that stay."""
    for number, patience_s in ((signal.SIGTERM, TERM_PATIENCE_S), (signal.SIGKILL, KILL_PATIENCE_S)):
        told: set[Process] = set()
        deadline = time.monotonic() + patience_s
        while (left := set(_running(processes))) and time.monotonic() < deadline:
            _tell_and_wait(left, left - told, number)
            told |= left
        if not left:
            return


def _running(processes: Collection[Process]) -> Iterator[Process]:
    """Yield those still alive and their sessions' members, whose leader may be gone.

    The kernel gives no number away that a session still has, so a process of this pid that began at another time
    proves that the session has ended.
    """
    began = {process.pid: process.started for process in processes}
    stats = [_parse(text) for text in _all_stats()] if began else []
    reused = {s.process.pid for s in stats if began.get(s.process.pid, s.process.started) != s.process.started}
    for stat in stats:
        own = stat.process in processes
        member = stat.session in began and stat.session not in reused
        if (own or member) and stat.running and stat.process.pid != os.getpid():
            yield stat.process


def _all_stats() -> Iterator[str]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(ProcessLookupError):
                yield _read_stat(int(entry.name))


def _tell_and_wait(left: Collection[Process], untold: Collection[Process], number: signal.Signals) -> None:
    """Signal the untold ones, then wait until any one has ended, or for a moment: they may have made new ones."""
    with ExitStack() as stack:
        poll = select.poll()
        for process in left:
            with suppress(ProcessLookupError):
                fd = os.pidfd_open(process.pid)
                stack.callback(os.close, fd)
                if process.alive:  # asked after opening: from here on the fd means this one
                    poll.register(fd, select.POLLIN)
                    if process in untold:
                        signal.pidfd_send_signal(fd, number)
        poll.poll(50)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off until the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python's handlers run in the main thread only
        return
    missed: set[int] = set()
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda caught, _: missed.add(caught)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught in missed:
            signal.raise_signal(caught)
