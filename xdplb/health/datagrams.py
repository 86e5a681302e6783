"""Sockets of datagram probes: what somebody on the way says of them is heard, and none is cut into fragments."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from xdplb.health.probe import Steps, Target
from xdplb.health.sockets import open_socket

MOST_BYTES = 65535  # of a datagram

# include/uapi/linux/in.h, in6.h: what Python's socket module does not name
_IP_MTU_DISCOVER, _IP_RECVERR = 10, 11
_IPV6_MTU_DISCOVER, _IPV6_RECVERR = 23, 25
_PMTUDISC_PROBE = 3
_HEADER = {4: 20, 6: 40}  # of IP, bytes
UDP_HEADER = 8


def payload_bytes(target: Target, header_bytes: int) -> int:
    """Return how many bytes fill a target's longest packet, after IP's header and one of `header_bytes`; 0: as it may.

    A packet that cannot hold the headers holds nothing, which a caller finds too little.
    """
    return max(target.packet_bytes - _HEADER[target.address.version] - header_bytes, 1) if target.packet_bytes else 0


def keep_whole(opened: socket.socket) -> None:
    """Have packets leave in one piece, or not at all; what was learned about the path's MTU is tried again each time.

    With PMTUDISC_DO the kernel itself would refuse the second probe through an MTU hole, for ten minutes (ip(7)). Of
    IPv6 this does all that IPV6_DONTFRAG does.
    """
    if opened.family == socket.AF_INET:
        opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)


@contextlib.contextmanager
def open_datagrams(target: Target, steps: Steps) -> Iterator[socket.socket]:
    """Open a UDP socket that hears the target only, and what routers say of it, as an OSError. Raises OSError."""
    with open_socket(target, socket.SOCK_DGRAM) as opened:
        if opened.family == socket.AF_INET:  # without it only "port unreachable" is told (ip(7), IP_RECVERR)
            opened.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        if target.packet_bytes:
            keep_whole(opened)
        opened.connect((str(target.address), target.port))
        steps.note("socket opened")
        yield opened
