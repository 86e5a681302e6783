"""One HTTP client on a socket that never blocks: connect, ask, read the answer, say how it went.

It reads no clock and waits for nothing: whoever holds the epoll calls `step` when the socket may have moved.
"""

from __future__ import annotations

import errno
import itertools
import re
import select
import socket
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple
from urllib.parse import urlsplit

KINDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EADDRNOTAVAIL: "no free port",
}
TIMEOUT, CLOSED, BAD_ANSWER = "timeout", "closed", "bad answer"

HEAD_LIMIT_BYTES = 65_536
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET  # registered once: fewer calls than changing the mask
_IP_BIND_ADDRESS_NO_PORT = 24  # include/uapi/linux/in.h: connect() picks the port, so one port serves many servers
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.I)
_BACKEND = re.compile(rb"\r\nx-backend: *(\S+)\r\n", re.I)


class Target(NamedTuple):
    """An URL, ready to be asked."""

    url: str
    family: socket.AddressFamily
    address: tuple[str, int]
    request: bytes
    last_request: bytes  # of a connection


def parse_url(url: str) -> Target:
    """Read `http://ADDRESS[:PORT]/PATH`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url}: not an http:// URL")
    family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
    try:
        socket.inet_pton(family, parts.hostname)
    except OSError:
        raise ValueError(f"{url}: {parts.hostname} is not an IP address") from None
    head = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode()
    request, last = head + b"\r\n", head + b"Connection: close\r\n\r\n"
    return Target(url, family, (parts.hostname, parts.port or 80), request, last)


def ways(targets: Sequence[Target], sources: Sequence[str]) -> Iterator[tuple[Target, str]]:
    """Yield where to go and from where, for ever: every URL, from every address of its family, in turn."""
    own = {
        family: itertools.cycle([s for s in sources if (":" in s) == (family == socket.AF_INET6)] or [""])
        for family in (socket.AF_INET, socket.AF_INET6)
    }
    for target in itertools.cycle(targets):
        yield target, next(own[target.family])


class State(Enum):
    """Where a client is."""

    FREE = auto()  # no connection
    CONNECTING = auto()
    WAITING = auto()  # for the answer
    ANSWERED = auto()  # wholly; the connection is kept, or the server has not closed it yet


class Client:
    """At most one connection at a time, at most one request on it. After `step`, look at `state` and `failure`."""

    __slots__ = ("backend", "failure", "keep", "left", "received", "sent", "socket", "source", "state", "target")

    socket: socket.socket
    target: Target

    def __init__(self, keep: int) -> None:
        self.keep = keep  # requests per connection
        self.state = State.FREE
        self.source = ""
        self._forget()

    def _forget(self) -> None:
        self.sent = 0  # requests on this connection
        self.failure = self.backend = ""
        self.received, self.left = b"", -1  # the head so far; bytes of the body to come, -1 before its length is known

    def connect(self, target: Target, source: str, epoll: select.epoll) -> None:
        """Open a connection and ask as soon as it stands."""
        self._forget()
        self.target, self.source = target, source
        self.state = State.CONNECTING
        self.socket = socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if source:
                self.socket.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                self.socket.bind((source, 0))
            code = self.socket.connect_ex(target.address)
        except OSError as error:
            code = error.errno or errno.EIO
        if code in (0, errno.EINPROGRESS):
            epoll.register(self.socket, _EDGES)
        else:
            self.fail(_kind(code))

    def ask(self) -> None:
        """Send the request, the last of this connection with the wish to have it closed."""
        last = self.sent + 1 >= self.keep
        try:
            self.socket.send(self.target.last_request if last else self.target.request)
        except BlockingIOError:
            return  # still connecting
        except OSError as error:
            self.fail(_kind(error.errno))
            return
        self.sent += 1
        self.state = State.WAITING
        self.received, self.left = b"", -1

    def step(self) -> None:
        """Go on as far as the socket allows."""
        if self.state is State.CONNECTING:
            self.ask()
        while self.state in (State.WAITING, State.ANSWERED):
            try:
                data = self.socket.recv(65_536)
            except BlockingIOError:
                return
            except OSError as error:
                self._end(_kind(error.errno))
                return
            if not data:
                self._end(CLOSED)
            elif self.state is State.ANSWERED:
                self.fail(BAD_ANSWER)  # more than the answer
            else:
                self._take(data)

    def _end(self, kind: str) -> None:
        """The connection has ended: after the last answer as it should, else as a failure."""
        if self.state is State.ANSWERED and self.sent >= self.keep:
            self.close()
        else:
            self.fail(kind)

    def _take(self, data: bytes) -> None:
        if self.left >= 0:
            self.left -= len(data)
        else:
            self.received += data
            end = self.received.find(b"\r\n\r\n") + 4
            if end < 4 and len(self.received) < HEAD_LIMIT_BYTES:
                return
            head = self.received[: end - 2]
            length, backend = _LENGTH.search(head), _BACKEND.search(head)
            if not length or not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")):
                self.fail(BAD_ANSWER)
                return
            self.backend = backend[1].decode(errors="replace") if backend else "?"
            self.left = int(length[1]) - len(self.received) + end
        if self.left < 0:
            self.fail(BAD_ANSWER)
        elif self.left == 0:
            self.state = State.ANSWERED

    def fail(self, kind: str) -> None:
        """Give the connection up."""
        self.failure = kind
        self.close()

    def close(self) -> None:
        """End the connection; epoll forgets a closed socket by itself."""
        self.state = State.FREE
        self.socket.close()


def _kind(code: int | None) -> str:
    return KINDS.get(code or 0) or errno.errorcode.get(code or 0, "error")
