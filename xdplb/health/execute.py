"""The `exec` check: a program of the operator's, as another user, which ends with status 0.

It gets a session of its own, and when the probe is over all of that is killed, whatever it had started: nothing stays
behind but what made a session of its own, too. It holds nothing of ours: no open file, no variable but a few, and no
capability, since root's go when a process becomes another user (capabilities(7)). The last line that it prints goes
with the cause.

asyncio's own processes (Python 3.11) take a thread each to wait for their end; a pidfd tells the event loop instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pwd
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeAlias

from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Exec
from xdplb.health.probe import OWN_TROUBLE, ProbeFailed, Steps, Target, phrase
from xdplb.model import Check

MOST_BYTES = 65536  # that a program may print
_SHOWN = 200  # characters of its last line
_GRACE_S = 0.5  # for SIGKILL to take effect; who hangs in the kernel takes longer
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_Run: TypeAlias = tuple[Exec, Target]
not_over: set[_Run] = set()  # killed, but stuck in the kernel: another one would get stuck, too, at every interval


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Run it, and wait for its end."""
    assert isinstance(check.ask, Exec)
    program = check.ask.command[0]
    if os.geteuid() != 0:
        raise ProbeFailed("exec checks need a daemon that is root")
    if (check.ask, target) in not_over:
        raise ProbeFailed(f"the last {program} has not ended yet, though it was killed")
    async with _running(check.ask, target) as running:
        steps.note(f"started {program} as {check.ask.user}, process {running.process.pid}")
        steps.waiting_for = f"the end of {program}"
        await running.end()
        said = running.last_line()
        steps.note("ended", received=len(running.output))
    status = running.process.returncode
    if status != 0:
        raise ProbeFailed(f"{_ended(status)}{': ' if said else ''}{said}")
    return ProbeEnded(True, f"exec {target}: {said or 'exit status 0'} in {steps.took_ms:.1f} ms")


def _ended(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # real-time ones have no names
        return f"killed by signal {-status}"


@dataclass(slots=True)
class _Running:
    """A program, its end (a pidfd), and what it printed."""

    process: subprocess.Popen[bytes]
    pidfd: int
    printed: int
    output: bytes = b""

    async def end(self) -> None:
        """Return when it has ended, though its children may live. Raises ProbeFailed when it prints too much."""
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        loop.add_reader(self.pidfd, _resolve, over)
        loop.add_reader(self.printed, self._read, over)
        try:
            await over
            self._read(over)  # what it printed last
        finally:
            loop.remove_reader(self.pidfd)
            loop.remove_reader(self.printed)
        if len(self.output) > MOST_BYTES:
            raise ProbeFailed(f"it prints more than {MOST_BYTES} bytes")

    def _read(self, over: asyncio.Future[None]) -> None:
        """Read what there is."""
        with contextlib.suppress(BlockingIOError):
            while len(self.output) <= MOST_BYTES:
                more = os.read(self.printed, MOST_BYTES)
                if not more:
                    asyncio.get_running_loop().remove_reader(self.printed)
                    return
                self.output += more
            _resolve(over)

    def last_line(self) -> str:
        """Return the last line with something in it, as far as it can be printed."""
        for line in reversed(self.output.decode(errors="replace").splitlines()):
            if text := "".join(c for c in line if c.isprintable()).strip():
                return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        return ""


@contextlib.asynccontextmanager
async def _running(asked: Exec, target: Target) -> AsyncIterator[_Running]:
    """Start a program; at the end it and all of its session's first process group are dead, and waited for."""
    printed, given = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(printed, False)
        try:
            process, pidfd = _start(asked, target, given)
        finally:
            os.close(given)
        try:
            yield _Running(process, pidfd, printed)
        finally:
            not_over.add((asked, target))
            await _kill(process, pidfd, (asked, target))
    finally:
        os.close(printed)


def _start(asked: Exec, target: Target, given: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start the program, printing into `given`; return it and its pidfd. Raises ProbeFailed, and OSError of ours."""
    try:
        user = pwd.getpwnam(asked.user)
    except KeyError:
        raise ProbeFailed(f"user {asked.user} is not known here") from None
    try:
        process = subprocess.Popen(
            asked.command,
            stdin=subprocess.DEVNULL,
            stdout=given,
            stderr=given,
            cwd="/",
            env=_environment(target),
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=os.getgrouplist(user.pw_name, user.pw_gid),
            umask=0o022,
            start_new_session=True,
        )
    except OSError as error:
        if error.errno in OWN_TROUBLE and error.errno != errno.EPERM:
            raise
        raise ProbeFailed(_refused(error, asked)) from None
    try:
        return process, os.pidfd_open(process.pid)
    except OSError:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _environment(target: Target) -> dict[str, str]:
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "XDPLB_SERVICE": target.service,
        "XDPLB_BACKEND": target.backend,
        "XDPLB_ADDRESS": str(target.address),
        "XDPLB_PORT": str(target.port),
    }


def _refused(error: OSError, asked: Exec) -> str:
    """Return why a program does not start. The kernel says the same of a script and of its interpreter (execve(2))."""
    program = asked.command[0]
    match error.errno:
        case errno.ENOENT if os.path.exists(program):
            return f"the interpreter in the first line of {program} is missing"
        case errno.ENOENT | errno.ENOTDIR:
            return f"{program} is missing"
        case errno.EACCES:
            return f"user {asked.user} may not execute {program}"
        case errno.ENOEXEC:
            return f"{program} is no program, and its first line names no interpreter"
        case errno.EPERM:
            return f"only root may become user {asked.user}"
    return f"{program}: {phrase(error)}"


async def _kill(process: subprocess.Popen[bytes], pidfd: int, run: _Run) -> None:
    """End its process group, and take its status; if that takes long, later, when nobody waits any more."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # what became another user's is beyond us
        os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so the number is nobody else's
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.add_reader(pidfd, _wait_for, process, pidfd, run, over)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_S):
            await over


def _wait_for(process: subprocess.Popen[bytes], pidfd: int, run: _Run, over: asyncio.Future[None]) -> None:
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    process.wait()
    not_over.discard(run)
    _resolve(over)


def _resolve(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
