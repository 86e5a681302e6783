"""One try: can this backend serve now? A module per kind asks; here every end of it becomes one phrase."""

from __future__ import annotations

import asyncio
import errno
import importlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Kind
from xdplb.logs import log_bug
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


MOST_SHOWN = 300  # characters of a cause
LOG_PAUSE_S = 10.0  # between two tracebacks

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
        self.steps.append(Step(time.monotonic() - self.began, printable(what), sent, received))

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
    where, ask = f"{check.kind} {target}", _asker(check.kind)
    try:
        async with asyncio.timeout(check.timeout_s):
            ended = await ask(check, target, steps)
    except TimeoutError:
        ended = ProbeEnded(False, f"{where}: {steps.waiting_for} did not come within {check.timeout_s:g} s")
    except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a library in Rust panics with one that is no Exception
        ended = ProbeEnded(False, f"{where}: {cause_of(error, where)}")
    ended = replace(ended, cause=printable(ended.cause), warning=printable(ended.warning))
    steps.note(ended.cause)
    return ended


def cause_of(error: BaseException, where: str) -> str:
    """Return what an error says of a backend. Raises it again when it says something of this host only."""
    if isinstance(error, ProbeFailed):
        return str(error)
    if type(error).__module__ == "ssl":  # an OSError, too, but its numbers are OpenSSL's: 1 is not EPERM
        return f"TLS failed: {getattr(error, 'reason', None) or error}"
    if isinstance(error, OSError):
        if error.errno in OWN_TROUBLE:
            raise error
        return phrase(error)
    _log_stumble(error, where)  # whatever a stranger's server made a library stumble over: its check must go on
    return f"its answer cannot be understood ({type(error).__name__}: {error})"


_next_log_s = 0.0  # on the monotonic clock


def _log_stumble(error: BaseException, where: str) -> None:
    """A traceback now and then is enough: strangers must not fill the disk."""
    global _next_log_s
    now = time.monotonic()
    if now >= _next_log_s:
        _next_log_s = now + LOG_PAUSE_S
        log_bug(log, where, error)


def printable(text: str) -> str:
    """Return what may go to a terminal and a log, though a stranger has chosen it."""
    if len(text) > MOST_SHOWN:
        text = text[: MOST_SHOWN - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _asker(kind: Kind) -> Asker:
    try:
        asker: Asker = importlib.import_module(f"xdplb.health.{MODULES[kind]}").ask
    except ImportError as error:
        raise OSError(errno.ELIBACC, f"{kind} checks lack a library on this host: {error}") from None
    return asker


OWN_TROUBLE = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EPERM),
    *(errno.EAGAIN, errno.ELIBACC),  # no more processes; a library is missing
}

_PHRASES = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no route to host: somebody on the way says so",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: "the connection was closed while we sent",
}


def phrase(error: OSError) -> str:
    """Return what an operating system's error means here."""
    return _PHRASES.get(error.errno or 0) or os.strerror(error.errno or 0).lower()
