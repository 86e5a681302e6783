"""One try: can this backend serve now? A module per kind asks; here every end of it becomes one phrase."""

from __future__ import annotations

import asyncio
import errno
import importlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Kind
from xdplb.model import Address, Check

# Imported when the first probe of its kind begins: who does not use QUIC does not load it.
MODULES = {
    Kind.TCP: "tcp",
    Kind.TLS: "tls",
    Kind.HTTP: "http",
    Kind.HTTPS: "http",
    Kind.GRPC: "grpc",
    Kind.UDP: "udp",
    Kind.DNS: "dns",
    Kind.ICMP: "icmp",
    Kind.QUIC: "quic",
    Kind.EXEC: "execute",
    Kind.AGENT: "agent",
}


log = logging.getLogger("xdplb")


@dataclass(frozen=True, slots=True)
class Target:
    """Where one probe goes: a backend's own address, or by its tunnel (`mark`) to a VIP.

    `mark` is the socket's (SO_MARK), 0 for none: bpf/probe.c sends what has it to the backend that it names, as it
    would a client's packet. `packet_bytes`: no packet may be longer, and with `full_size` in the check one is that
    long; 0: as the route says. `backend` and `service` are names, for programs that ask.
    """

    address: Address
    port: int
    mark: int = 0
    packet_bytes: int = 0
    backend: str = ""
    service: str = ""
    host: str = field(init=False, compare=False)  # the address as text
    text: str = field(init=False, compare=False)  # and with the port: both are needed ten thousand times a second

    def __post_init__(self) -> None:
        host = str(self.address)
        shown = host if self.address.version == 4 else f"[{host}]"
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "text", f"{shown}:{self.port}" if self.port else host)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened in a probe: so many seconds after its begin, with bytes of payload sent and received."""

    at_s: float
    what: str
    sent: int = 0
    received: int = 0


@dataclass(slots=True)
class Steps:
    """What happened so far, for `xdplb check --verbose`, and so that a timeout can say what was waited for."""

    began: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)
    waiting_for: str = "an answer"

    def note(self, what: str, sent: int = 0, received: int = 0) -> None:
        """Something has happened."""
        self.steps.append(Step(time.monotonic() - self.began, what, sent, received))

    @property
    def took_ms(self) -> float:
        """Milliseconds since the begin."""
        return (time.monotonic() - self.began) * 1e3


class ProbeFailed(Exception):
    """A probe found what should not be; its text is the cause, one phrase."""


Asker: TypeAlias = Callable[[Check, Target, Steps], Awaitable[ProbeEnded]]


async def probe(check: Check, target: Target, steps: Steps | None = None) -> ProbeEnded:
    """Ask once. Whatever the other side does ends as a result, also what we did not think of.

    Raises OSError of OWN_TROUBLE when this host could not ask: that says nothing of the backend.
    """
    steps = steps if steps is not None else Steps()
    where = f"{check.kind} {target}"
    try:
        async with asyncio.timeout(check.timeout_s):
            ended = await _asker(check.kind)(check, target, steps)
    except TimeoutError:
        ended = ProbeEnded(False, f"{where}: {steps.waiting_for} did not come within {check.timeout_s:g} s")
    except ProbeFailed as failure:
        ended = ProbeEnded(False, f"{where}: {failure}")
    except OSError as error:
        if error.errno in OWN_TROUBLE:
            raise
        ended = ProbeEnded(False, f"{where}: {phrase(error)}")
    except Exception as error:  # whatever a stranger's server made a library stumble over: its check must go on
        log.exception("%s", where)
        ended = ProbeEnded(False, f"{where}: its answer cannot be understood ({type(error).__name__}: {error})")
    steps.note(ended.cause)
    return ended


def _asker(kind: Kind) -> Asker:
    asker: Asker = importlib.import_module(f"xdplb.health.{MODULES[kind]}").ask
    return asker


OWN_TROUBLE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EPERM}

_PHRASES = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no route to host: somebody on the way says so",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: "the connection was closed while we sent",
}


def phrase(error: OSError) -> str:
    """Return what an operating system's error means here."""
    return _PHRASES.get(error.errno or 0) or os.strerror(error.errno or 0).lower()
