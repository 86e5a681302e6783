"""The `udp` check: something sent, and an answer in which something is found.

Who answers nothing to what is sent is taken for down: silence over UDP says nothing. A closed port is told by ICMP, at
once. What is sent is as long as it is, so this kind knows no `full_size`.
"""

from __future__ import annotations

import asyncio
import socket

from xdplb.health.check import ProbeEnded
from xdplb.health.datagrams import MOST_BYTES, open_datagrams
from xdplb.health.expect import found
from xdplb.health.kinds import Talk
from xdplb.health.probe import ProbeFailed, Steps, Target
from xdplb.model import Check

MOST_ANSWERS = 64  # that are looked at
_SHOWN = 60  # bytes of an answer, in a cause


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Send, and wait for the right answer."""
    assert isinstance(check.ask, Talk)
    with open_datagrams(target, steps) as opened:
        await asyncio.get_running_loop().sock_sendall(opened, check.ask.send)
        steps.note("sent", sent=len(check.ask.send))
        size = await _answer(opened, check.ask.expect, steps)
    return ProbeEnded(True, f"udp {target}: an answer of {size} bytes in {steps.took_ms:.1f} ms")


async def _answer(opened: socket.socket, expect: str | None, steps: Steps) -> int:
    """Return the right answer's length; wrong ones are passed over, since a late one of others may come first."""
    what = f"{expect!r} in an answer" if expect else "an answer"
    steps.waiting_for = what
    for _ in range(MOST_ANSWERS):
        await asyncio.sleep(0)  # sock_recv does not wait when there is something: no other task, no timeout would run
        data = await asyncio.get_running_loop().sock_recv(opened, MOST_BYTES)
        steps.note("received", received=len(data))
        if expect is None or found(expect, data):
            return len(data)
        steps.waiting_for = f"{what} (there was {data[:_SHOWN]!r})"
    raise ProbeFailed(f"{MOST_ANSWERS} answers, none of them right: the last was {data[:_SHOWN]!r}")
