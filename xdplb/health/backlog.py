"""Which listening sockets of this host are full: their servers do not take the connections that the kernel made.

The kernel drops an opening, and counts it (ListenOverflows), when the queue of the listening socket is full. That
counter is of the whole host and cheap to read; only when it has grown are the sockets asked, by sock_diag(7).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from xdplb.health.evidence import Sign, Unanswered
from xdplb.model import Address

_NETSTAT = Path("/proc/thread-self/net/netstat")
_NETLINK_SOCK_DIAG, _BY_FAMILY = 4, 20  # include/uapi/linux/netlink.h, sock_diag.h
_REQUEST_DUMP, _DONE, _ERROR = 0x301, 3, 2
_LISTEN = 1 << 10  # TCP_LISTEN as a state's bit
_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr
_ASK = struct.Struct("=BBBxI48x")  # struct inet_diag_req_v2
_TOLD = struct.Struct("=BBBB2s2s16s16s12xIIIII")  # struct inet_diag_msg


class Backlog:
    """What has been counted so far."""

    def __init__(self) -> None:
        """Count from now on."""
        self._overflows = count_overflows()

    def look(self) -> list[Unanswered]:
        """Return the listening sockets that are full, if openings were dropped since the last look. Raises OSError."""
        before, self._overflows = self._overflows, count_overflows()
        if self._overflows == before:
            return []
        return [Unanswered(at, port, Sign.QUEUE_FULL, self._overflows - before) for at, port in full_listeners()]


def count_overflows() -> int:
    """Return how many openings were dropped since the boot because a queue was full."""
    names: list[bytes] = []
    for line in _NETSTAT.read_bytes().splitlines():
        if line.startswith(b"TcpExt:"):
            if names:
                return int(line.split()[names.index(b"ListenOverflows")])
            names = line.split()
    return 0


def full_listeners() -> list[tuple[Address | None, int]]:
    """Return address (None: any) and port of each TCP listener whose accept queue is full. Raises OSError."""
    found = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as diag:
        for family in (socket.AF_INET, socket.AF_INET6):
            ask = _ASK.pack(family, socket.IPPROTO_TCP, 0, _LISTEN)
            diag.send(_MESSAGE.pack(_MESSAGE.size + len(ask), _BY_FAMILY, _REQUEST_DUMP, 0, 0) + ask)
            for told in _answers(diag):
                _, _, _, _, port, _, source, _, _, waiting, room, *_ = _TOLD.unpack_from(told)
                if waiting and waiting >= room:
                    packed = source[:4] if family == socket.AF_INET else source
                    found.add((ip_address(packed) if any(packed) else None, int.from_bytes(port, "big")))
    return sorted(found, key=str)


def _answers(diag: socket.socket) -> Iterator[bytes]:
    """Yield the messages of a dump. Raises OSError."""
    while True:
        buffer = diag.recv(1 << 16)
        while buffer:
            size, kind, *_ = _MESSAGE.unpack_from(buffer)
            body, buffer = buffer[_MESSAGE.size : size], buffer[(size + 3) & ~3 :]
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -int.from_bytes(body[:4], "little", signed=True)
                raise OSError(code, f"sock_diag: {os.strerror(code)}")
            yield body
