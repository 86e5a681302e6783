"""The hashes that the XDP program and Python both compute, and the names of things as 64-bit numbers.

The C side is in `bpf/rows.h` (`hash_key`) and `bpf/transport.h` (`hash_flow`, `hash_client`); a test compares the two.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

from xdplb.contract import CONSTANTS
from xdplb.model import Address, Vip

Key: TypeAlias = tuple[int, int, int]  # of a row of `services`: both words of its address, and `key_word`

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_OTHER = 0xD6E8FEB86659FD93
_NAME_BITS = (1 << 44 - CONSTANTS["FLOW_NAME_SHIFT"]) - 1


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


def key_word(port: int, protocol: int, kind: str) -> int:
    """Return the last word of a key: port, protocol and what the row is for, `KIND_...` of bpf/maps.h."""
    return port_word(port) | protocol << 16 | CONSTANTS[f"KIND_{kind}"] << 24


def network_word(vip: Vip) -> int:
    """Return under what address (its lower word) a network's VIPs lie in `services`; odd, as no IPv4 address is."""
    return identity("network", str(vip.network)) | 1


def vip_address(vip: Vip) -> tuple[int, int]:
    """Return both words of the address under which a VIP lies in `services`."""
    return (0, network_word(vip)) if vip.prefix else words(vip.address)


def vip_key(vip: Vip) -> Key:
    """Return the key of a VIP's own row."""
    if vip.protocol.number == 0:
        return (*vip_address(vip), key_word(0, 0, "ADDRESS"))
    kind = "RANGE" if vip.last_port else "PORT"
    return (*vip_address(vip), key_word(vip.port, vip.protocol.number, kind))


def key_rows(key: Key, seed: int, rows_bits: int) -> tuple[int, int]:
    """Return the two rows of `services` in which a key may lie; they may be equal."""
    high, low, word = key
    value = low ^ word ^ seed ^ (high * _OTHER & _MASK)
    value = value * _GOLDEN & _MASK
    again = (value ^ value >> 32) * _OTHER & _MASK
    return value >> (64 - rows_bits), again >> (64 - rows_bits)


def mask_words(version: int, prefix: int) -> tuple[int, int]:
    """Return `struct address` with the first so many bits of an address set, IPv4-mapped for IPv4."""
    bits = prefix if version == 6 else 96 + prefix
    packed = ((1 << 128) - (1 << 128 - bits)).to_bytes(16, "big")
    return int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")


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


def hash_client(source: tuple[int, int], mask: tuple[int, int], key: int) -> int:
    """Return the 64-bit hash of a client (words of its address) as far as the mask lets see."""
    return _mix(_mix(key, source[0] & mask[0]), source[1] & mask[1]) * _OTHER & _MASK


def flow_name(flow_hash: int, slot_hash: int, service: int, lines: int) -> tuple[int, int]:
    """Return in which line of `flows` a flow is remembered, and the word of 64 bits that names it there.

    `slot_hash` is what picked its slot: the flow's own hash, or with affinity the client's.
    """
    upper = _mix(flow_hash, service) >> 32
    return upper * lines >> 32, slot_hash >> 44 << 44 | (upper & _NAME_BITS) << CONSTANTS["FLOW_NAME_SHIFT"]


def flow_line(line: int, lines: int, name: int, new_lines: int) -> int:
    """Return where a flow of one table lies in another of another size, from its line and its name.

    Of the 32 bits that say so the line tells the upper ones and the name the lower 18. Both sizes are powers of two,
    from 2^14 on.
    """
    upper = (line << 32) // lines | (name >> CONSTANTS["FLOW_NAME_SHIFT"] & _NAME_BITS)
    return upper * new_lines >> 32


def hash_account(source: tuple[int, int], version: int, mask: tuple[int, int], limit: int, what: int, key: int) -> int:
    """Return the 64-bit hash of a client's account: words of its address, family, mask, and whose limit of what."""
    value = _mix(key ^ what, limit)
    if version == 6:
        value = _mix(_mix(value, source[0] & mask[0]), source[1] & mask[1])
    else:
        value = _mix(value, (source[1] & mask[1]) >> 32)
    value = value * _OTHER & _MASK
    return value ^ value >> 32


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
