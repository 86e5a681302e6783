"""What an agent on a backend tells a balancer: where clients want to, and nobody answers. Both ways; pure.

A head (magic, version, entries) and entries of 24 bytes, all in network byte order. Whoever forges one makes the
balancer probe a backend once a second and nothing more, so there is no key in it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address

from xdplb.model import Address

TCP = 6
_HEAD = struct.Struct("!4sBBxx")
_ENTRY = struct.Struct("!16sHBBI")
_MAGIC, _VERSION = b"xdpe", 1
_MOST = 8  # entries of one datagram: so much work it is at the most
_MOST_COUNT = 0xFFFFFFFF


class Sign(IntEnum):
    """By what an agent knows that openings are not answered."""

    NO_SOCKET = 1  # none listens there
    QUEUE_FULL = 2  # one does, but the server does not take its connections


_SIGNS = {int(sign): sign for sign in Sign}


@dataclass(frozen=True, slots=True)
class Unanswered:
    """So many openings of connections were not answered. `address` None: of any address of the backend."""

    address: Address | None
    port: int
    sign: Sign
    count: int
    protocol: int = TCP

    @property
    def cause(self) -> str:
        """One phrase for people."""
        port = f"port {self.port}"
        where = port if self.address is None else _with_port(self.address, self.port)
        if self.sign is Sign.NO_SOCKET:
            return f"no socket listens on {where} there (its agent says)"
        return f"the accept queue of {where} there is full (its agent says)"


def _with_port(address: Address, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def unmapped(packed: bytes) -> Address:
    """Return the address of 16 bytes, IPv4 of its IPv4-mapped form."""
    address = IPv6Address(packed)
    return address.ipv4_mapped or address


def pack(found: Sequence[Unanswered]) -> list[bytes]:
    """Return the datagrams that say this."""
    return [_pack(found[at : at + _MOST]) for at in range(0, len(found), _MOST)]


def _pack(found: Sequence[Unanswered]) -> bytes:
    entries = [
        _ENTRY.pack(_mapped(one.address), one.port, one.protocol, one.sign, min(one.count, _MOST_COUNT))
        for one in found
    ]
    return _HEAD.pack(_MAGIC, _VERSION, len(found)) + b"".join(entries)


def _mapped(address: Address | None) -> bytes:
    if address is None:
        return bytes(16)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def unpack(datagram: bytes) -> list[Unanswered]:
    """Return what a datagram says; nothing if it is no such datagram, or one of another version."""
    if len(datagram) < _HEAD.size:
        return []
    magic, version, entries = _HEAD.unpack_from(datagram)
    if (magic, version, len(datagram)) != (_MAGIC, _VERSION, _HEAD.size + entries * _ENTRY.size) or entries > _MOST:
        return []
    found = []
    for packed, port, protocol, sign, count in _ENTRY.iter_unpack(datagram[_HEAD.size :]):
        if sign in _SIGNS:
            address = unmapped(packed) if any(packed) else None
            found.append(Unanswered(address, port, _SIGNS[sign], count, protocol))
    return found
