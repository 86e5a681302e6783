"""Netlink for questions in tens of thousands, and for those that pyroute2 has no words for.

A box may have 10,000 backends, each with a route to ask for and a neighbour to read: pyroute2 takes some 0.4 ms for
each answer, reading here what is needed of it a sixteenth of that. Messages: include/uapi/linux/netlink.h,
rtnetlink.h, neighbour.h, net_namespace.h, genetlink.h and netdev.h.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from xdplb.doctor.facts import Hop, Neighbour, Way
from xdplb.model import Address

ROUTE, GENERIC = 0, 16  # protocols
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_GETROUTE, _GETNEIGH, _GETNSID = 26, 30, 90
_DST, _OIF, _GATEWAY, _PREFSRC, _METRICS, _MARK, _VIA = 1, 4, 5, 7, 8, 16, 18
_MTU = 2  # of metrics
_UNICAST, _LOCAL = 1, 2
_CONTROL, _GETFAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_DEV_GET, _IFINDEX, _XDP_FEATURES = 1, 1, 3
_TOGETHER = 64  # questions at once: their answers must have room in the socket
_TIMEOUT_S = 2.0


def _word(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, sys.byteorder)


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


def _attribute(kind: int, value: bytes) -> bytes:
    return _word(4 + len(value), 2) + _word(kind, 2) + value + bytes(-len(value) % 4)


def attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and value of each attribute."""
    at = 0
    while at + 4 <= len(raw):
        size = max(4, _number(raw[at : at + 2]))
        yield _number(raw[at + 2 : at + 4]) & 0x3FFF, raw[at + 4 : at + size]
        at += (size + 3) & ~3


class Netlink:
    """A socket of one netlink protocol, in the namespace of the thread that makes it."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.bind((0, 0))

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, bodies: Sequence[bytes]) -> list[bytes | int]:
        """Return the one answer to each question; a number is the kernel's errno. Raises OSError."""
        found: list[bytes | int] = []
        for start in range(0, len(bodies), _TOGETHER):
            part = bodies[start : start + _TOGETHER]
            self._send(kind, part, _REQUEST)
            answers: dict[int, bytes | int] = {}
            while len(answers) < len(part):
                for what, number, body in self._receive():
                    answers[number] = -_signed(body) if what == _ERROR else body
            found += [answers[number] for number in range(len(part))]
        return found

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Yield all there are. Raises OSError."""
        self._send(kind, [body], _REQUEST | _DUMP)
        while True:
            for what, _, answer in self._receive():
                if what in (_DONE, _ERROR):
                    return
                yield answer

    def _send(self, kind: int, bodies: Iterable[bytes], flags: int) -> None:
        messages = (
            _word(16 + len(body)) + _word(kind, 2) + _word(flags, 2) + _word(number) + _word(0) + body
            for number, body in enumerate(bodies)
        )
        self._socket.send(b"".join(messages))

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield kind, number and body of what came."""
        raw, at = self._socket.recv(1 << 17), 0
        while at + 16 <= len(raw):
            size = max(16, _number(raw[at : at + 4]))
            yield _number(raw[at + 4 : at + 6]), _number(raw[at + 8 : at + 12]), raw[at + 16 : at + size]
            at += (size + 3) & ~3


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw[:4], sys.byteorder, signed=True)


# --- routes and neighbours ----------------------------------------------------------------------------------


def find_ways(addresses: Sequence[Address], mark: int = 0) -> dict[Address, Way]:
    """Return how the kernel would send to each address. Raises OSError."""
    with Netlink() as netlink:
        answers = netlink.ask(_GETROUTE, [_route_to(address, mark) for address in addresses])
    return {
        address: Way(error=answer) if isinstance(answer, int) else _way(answer)
        for address, answer in zip(addresses, answers, strict=True)
    }


def _route_to(address: Address, mark: int) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    head = bytes([family, address.max_prefixlen, 0, 0, 0, 0, 0, 0]) + _word(0)
    return head + _attribute(_DST, address.packed) + (_attribute(_MARK, _word(mark)) if mark else b"")


def _way(answer: bytes) -> Way:
    found = dict(attributes(answer[12:]))
    gateway = found.get(_GATEWAY) or (found[_VIA][2:] if _VIA in found else None)
    metrics = dict(attributes(found.get(_METRICS, b"")))
    source = found.get(_PREFSRC)
    return Way(
        error=0 if answer[7] in (_UNICAST, _LOCAL) else 22,  # what drops, by the errno that IPv4 has for it
        local=answer[7] == _LOCAL,
        oif=_number(found.get(_OIF, b"")),
        gateway=ip_address(gateway) if gateway else None,
        source=ip_address(source) if source else None,
        mtu=_number(metrics.get(_MTU, b"")),
    )


def read_neighbours() -> dict[Hop, Neighbour]:
    """Return every entry of the kernel's neighbour tables. Raises OSError."""
    found = {}
    with Netlink() as netlink:
        for message in netlink.dump(_GETNEIGH, bytes(12)):
            attached = dict(attributes(message[12:]))
            if message[0] in (socket.AF_INET, socket.AF_INET6) and 1 in attached:
                hop = (_number(message[4:8]), ip_address(attached[1]))
                found[hop] = Neighbour(_number(message[8:10]), attached.get(2, b""))
    return found


# --- namespaces and drivers ---------------------------------------------------------------------------------


def namespace_number(fd: int) -> int | None:
    """Return by which number (`link-netnsid`) this namespace knows the one of a file; None: by none."""
    with Netlink() as netlink:
        (answer,) = netlink.ask(_GETNSID, [bytes(4) + _attribute(3, _word(fd))])
    number = None if isinstance(answer, int) else _signed(dict(attributes(answer[4:])).get(1, b"\xff" * 4))
    return None if number is None or number < 0 else number


def read_xdp_features(indexes: Iterable[int]) -> dict[int, int]:
    """Return what each interface's driver can do for XDP, NETDEV_XDP_ACT_...; empty before Linux 6.3."""
    found = {}
    with contextlib.suppress(OSError), Netlink(GENERIC) as netlink:
        (family,) = netlink.ask(_CONTROL, [bytes([_GETFAMILY, 1, 0, 0]) + _attribute(_FAMILY_NAME, b"netdev\0")])
        if isinstance(family, int):
            return {}
        kind = _number(dict(attributes(family[4:]))[_FAMILY_ID])
        wanted = list(indexes)
        answers = netlink.ask(kind, [bytes([_DEV_GET, 1, 0, 0]) + _attribute(_IFINDEX, _word(n)) for n in wanted])
        for index, answer in zip(wanted, answers, strict=True):
            if not isinstance(answer, int):
                found[index] = _number(dict(attributes(answer[4:])).get(_XDP_FEATURES, b""))
    return found
