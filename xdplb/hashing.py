"""The hashes that the XDP program and Python both compute, and the names of things as 64-bit numbers.

The C side is in `bpf/find_service.h` (`hash_vip`) and `bpf/parse.h` (`hash_flow`); a test compares the two.
"""

from __future__ import annotations

import hashlib

from xdplb.model import Address, Vip

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_OTHER = 0xD6E8FEB86659FD93


def mapped(address: Address) -> bytes:
    """Return the 16 bytes of an address, IPv4 in its IPv4-mapped form (RFC 4291, 2.5.5.2)."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def words(address: Address) -> tuple[int, int]:
    """Return `struct address`: both halves as they lie in memory on a little-endian machine."""
    packed = mapped(address)
    return int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")


def port_word(port: int) -> int:
    """Return a port as it lies in memory in network byte order."""
    return int.from_bytes(port.to_bytes(2, "big"), "little")


def port_and_protocol(vip: Vip) -> int:
    """Return the word of a service's row that holds both."""
    return vip.protocol.number << 16 | port_word(vip.port)


def vip_rows(vip: Vip, seed: int, rows_bits: int) -> tuple[int, int]:
    """Return the two rows of `services` in which a VIP may lie; they may be equal."""
    high, low = words(vip.address)
    value = low ^ port_and_protocol(vip) ^ seed ^ (high * _OTHER & _MASK)
    value = value * _GOLDEN & _MASK
    again = (value ^ value >> 32) * _OTHER & _MASK
    return value >> (64 - rows_bits), again >> (64 - rows_bits)


def _mix(value: int, word: int) -> int:
    value = (value ^ word) * _GOLDEN & _MASK
    return value ^ value >> 32


def hash_flow(source: Address, source_port: int, vip: Vip, key: int) -> int:
    """Return the 64-bit hash of a flow to a VIP, keyed with 64 bits; its upper half picks the slot.

    The protocol is not part of it: a service has one protocol, and its own ring.
    """
    (source_high, source_low), (vip_high, vip_low) = words(source), words(vip.address)
    ports = port_word(source_port) | port_word(vip.port) << 16
    if vip.address.version == 4:
        value = _mix(key, source_low ^ ports)
    else:
        value = _mix(_mix(_mix(key, source_high), source_low), vip_high ^ ports)
    return _mix(value, vip_low) * _OTHER & _MASK


def slot_of(flow_hash: int, ring_size: int) -> int:
    """Return the slot that a flow's hash picks: its upper half, scaled, so that no division is needed."""
    return (flow_hash >> 32) * ring_size >> 32


def identity(*names: str) -> int:
    """Name a thing by a non-zero 64-bit number that is the same on every box and after every restart."""
    joined = "\0".join(names).encode()
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little") or 1


def key_from(secret: str) -> int:
    """Return the 64-bit hash key for a configured secret."""
    return int.from_bytes(hashlib.blake2b(secret.encode(), digest_size=8, person=b"xdplb hash key").digest(), "little")
