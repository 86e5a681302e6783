"""The `icmp` check: an echo comes back, and with `full_size` also one that fills the longest packet.

The small one goes first, so that the cause can tell an MTU hole from a host that is gone.
"""

from __future__ import annotations

import errno

from xdplb.health.check import ProbeEnded
from xdplb.health.datagrams import payload_bytes
from xdplb.health.echoes import HEADER, Echoes, Told, shared
from xdplb.health.probe import ProbeFailed, Steps, Target
from xdplb.model import Check

_SMALL = HEADER.size + 56  # bytes of ICMP; as ping(8) sends

_MEANS = {  # what the numbers of (IP version, type, code) say: RFC 792, RFC 1812 5.2.7.1, RFC 4443 3.1
    (4, 3, 0): "network unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 2): "protocol unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 9): "network prohibited",
    (4, 3, 10): "host prohibited",
    (4, 3, 13): "prohibited by a filter",
    (4, 11, 0): "it went in a circle",
    (6, 1, 0): "no route",
    (6, 1, 1): "prohibited by a filter",
    (6, 1, 3): "address unreachable",
    (6, 1, 4): "port unreachable",
    (6, 1, 5): "source address refused",
    (6, 1, 6): "route refused",
    (6, 3, 0): "it went in a circle",
}


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Send a small echo, then a long one if it is wanted."""
    steps.waiting_for = "an echo"
    with shared(target) as echoes:
        await _echo(echoes, target, _SMALL, steps)
        took = f"{steps.took_ms:.1f} ms"
        size = payload_bytes(target, 0)
        if check.full_size and size > _SMALL:
            await _full_size(echoes, target, size, steps)
    return ProbeEnded(True, f"icmp {target}: an echo in {took}")


async def _full_size(echoes: Echoes, target: Target, size: int, steps: Steps) -> None:
    hole = f"packets of {target.packet_bytes} bytes do not get through, small ones do"
    steps.waiting_for = f"{hole}: an echo"
    try:
        await _echo(echoes, target, size, steps)
    except ProbeFailed as failure:
        raise ProbeFailed(f"{hole}: {failure}") from None
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        raise ProbeFailed(f"{hole}: too long for the first link") from None


async def _echo(echoes: Echoes, target: Target, size: int, steps: Steps) -> None:
    """Send one and wait for it. Raises OSError, and ProbeFailed for what somebody says instead."""
    told = await echoes.echo(target, size)
    steps.note("echo", sent=size, received=0 if told else size)
    if told:
        raise ProbeFailed(f"{_what(target, told)}, says {told.source}")


def _what(target: Target, told: Told) -> str:
    if told.mtu:
        return f"at most {told.mtu} bytes go on"
    known = _MEANS.get((target.address.version, told.type, told.code))
    return known or f"not delivered (ICMP type {told.type}, code {told.code})"
