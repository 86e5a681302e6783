"""Sockets of probes: to a backend directly, or marked for its tunnel; nothing of them stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator

from xdplb.health.probe import Steps, Target

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: no TIME_WAIT left behind on either side
_HEADERS = {4: 40, 6: 60}  # of IP and TCP, bytes


def family_of(target: Target) -> socket.AddressFamily:
    """Return the family of a target's address."""
    return socket.AF_INET if target.address.version == 4 else socket.AF_INET6


def make_socket(target: Target, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
    """Return a non-blocking socket that goes the target's way. Raises OSError when this host has none."""
    opened = socket.socket(family_of(target), kind | socket.SOCK_NONBLOCK, protocol)
    try:
        if kind is socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            if target.packet_bytes:  # what we announce and what we send: both sides then keep to it
                most = target.packet_bytes - _HEADERS[target.address.version]
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, most)
        if target.mark:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, target.mark)
    except OSError:
        opened.close()
        raise
    return opened


_libc = ctypes.CDLL(None, use_errno=True)
_NOWHERE = ctypes.create_string_buffer(16)  # struct sockaddr of AF_UNSPEC


def disconnect(connected: socket.socket) -> bool:
    """Reset a TCP connection and have its socket for another one (connect(2), AF_UNSPEC); tell whether that went well.

    Its options stay, but for TCP_MAXSEG and TCP_QUICKACK, which the kernel forgets. A socket costs as much to make and
    to close as to connect: who needs thousands a second uses them again.
    """
    done: int = _libc.connect(connected.fileno(), _NOWHERE, len(_NOWHERE))
    return done == 0


@contextlib.contextmanager
def open_socket(target: Target, kind: socket.SocketKind, protocol: int = 0) -> Iterator[socket.socket]:
    """Open such a socket; it is closed at the end."""
    with make_socket(target, kind, protocol) as opened:
        yield opened


async def connect(opened: socket.socket, target: Target, steps: Steps) -> None:
    """Connect. Raises OSError."""
    steps.waiting_for = "a connection"
    await asyncio.get_running_loop().sock_connect(opened, (str(target.address), target.port))
    steps.note("connected" if opened.type == socket.SOCK_STREAM else "socket opened")
