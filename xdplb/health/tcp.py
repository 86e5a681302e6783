"""The `tcp` check: a connection, and if wanted something sent and something found in what comes back."""

from __future__ import annotations

import asyncio
import socket

from xdplb.health.check import ProbeEnded
from xdplb.health.expect import found
from xdplb.health.kinds import Talk
from xdplb.health.probe import ProbeFailed, Steps, Target
from xdplb.health.sockets import connect, open_socket
from xdplb.model import Check

MOST_BYTES = 65536  # of an answer that are looked at


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Connect, talk if the check says so, reset."""
    with open_socket(target, socket.SOCK_STREAM) as opened:
        await connect(opened, target, steps)
        if isinstance(check.ask, Talk):
            await _talk(opened, check.ask, steps)
    return ProbeEnded(True, f"tcp {target}: {'answered' if check.ask else 'connected'} in {steps.took_ms:.1f} ms")


async def _talk(opened: socket.socket, talk: Talk, steps: Steps) -> None:
    loop = asyncio.get_running_loop()
    if talk.send:
        await loop.sock_sendall(opened, talk.send)
        steps.note("sent", sent=len(talk.send))
    if talk.expect is None:
        return
    steps.waiting_for = f"{talk.expect!r} in an answer"
    answer = b""
    while not found(talk.expect, answer):
        if len(answer) >= MOST_BYTES:
            raise ProbeFailed(f"{talk.expect!r} is not in the first {len(answer)} bytes of the answer")
        await asyncio.sleep(0)  # sock_recv does not wait when there is something: no other task, no timeout would run
        more = await loop.sock_recv(opened, 4096)
        if not more:
            raise ProbeFailed(f"{talk.expect!r} is not in the answer of {len(answer)} bytes: {answer[:60]!r}")
        steps.note("received", received=len(more))
        answer += more
