"""Questions to others that change nothing: who has this address, does anybody listen there?

ARP (RFC 826) is asked by a socket of our own: the kernel's table shows one answer, and here it matters whether there
are two. Backends are asked for a TCP connection, which is closed at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import socket
import time
from collections.abc import Iterable, Mapping

from xdplb.doctor.facts import Hop
from xdplb.model import Address

MOST = 256  # are asked
_ARP, _PACKET_OUTGOING = 0x0806, 4
_BEGIN = bytes.fromhex("0001 0800 06 04")  # Ethernet, IPv4, their lengths


def who_has(
    hops: Iterable[Hop], sources: Mapping[Hop, Address], macs: Mapping[int, bytes], wait_s: float
) -> dict[Hop, frozenset[bytes]]:
    """Return which MAC addresses answer for each of these IPv4 next hops; those that cannot be asked are left out.

    `sources`: as whom to ask; `macs`: of the interfaces.
    """
    found: dict[Hop, set[bytes]] = {}
    with contextlib.ExitStack() as stack:
        sockets: dict[int, socket.socket] = {}
        for hop in hops:
            index, address = hop
            if address.version != 4 or hop not in sources or not any(macs.get(index, b"")):
                continue
            with contextlib.suppress(OSError):
                if index not in sockets:
                    sockets[index] = stack.enter_context(_tap(index))
                sockets[index].send(_question(macs[index], sources[hop], address))
                found[hop] = set()
        _gather(sockets, found, wait_s)
    return {hop: frozenset(answers) for hop, answers in found.items()}


def _tap(index: int) -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP))
    tap.bind((socket.if_indextoname(index), _ARP))
    tap.setblocking(False)
    return tap


def _question(mac: bytes, source: Address, address: Address) -> bytes:
    head = b"\xff" * 6 + mac + _ARP.to_bytes(2, "big")
    return head + _BEGIN + b"\0\1" + mac + source.packed + bytes(6) + address.packed


def _gather(sockets: Mapping[int, socket.socket], found: dict[Hop, set[bytes]], wait_s: float) -> None:
    """Note answers until the time is over: a second one may come later than the first."""
    wanted = {(index, address.packed): (index, address) for index, address in found}
    by_file = {tap.fileno(): (index, tap) for index, tap in sockets.items()}
    until = time.monotonic() + wait_s
    while by_file and (left := until - time.monotonic()) > 0:
        for number in select.select(list(by_file), [], [], left)[0]:
            index, tap = by_file[number]
            with contextlib.suppress(OSError):
                frame, sender = tap.recvfrom(128)
                hop = wanted.get((index, frame[28:32]))
                if hop and frame[20:22] == b"\0\2" and sender[2] != _PACKET_OUTGOING:
                    found[hop].add(frame[22:28])


def connect(places: Iterable[tuple[Address, int]], wait_s: float) -> dict[Address, str]:
    """Return what came of a TCP connection to each: "": it came about; otherwise why not."""
    found: dict[Address, str] = {}
    with selectors.DefaultSelector() as selector:
        for address, port in places:
            opened = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
            opened.setblocking(False)
            code = opened.connect_ex((str(address), port))
            if code not in (0, errno.EINPROGRESS):
                found[address] = os.strerror(code).lower()
                opened.close()
            else:
                found[address] = "nobody answers"
                selector.register(opened, selectors.EVENT_WRITE, address)
        until = time.monotonic() + wait_s
        while selector.get_map() and (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                found[key.data] = _outcome(key.fileobj)
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return found


def _outcome(opened: object) -> str:
    assert isinstance(opened, socket.socket)
    code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return {0: "", errno.ECONNREFUSED: "refused"}.get(code, os.strerror(code).lower())
