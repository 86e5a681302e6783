"""A frame from what somebody types: addresses, protocol, flags. Everything else is as most packets have it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xdplb.errors import ConfigError
from xdplb.model import Address
from xdplb.values import parse_address, within

TCP, UDP, SCTP = 6, 17, 132
ICMP = {4: 1, 6: 58}
PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}  # RFC 9293, 3.1; RFC 3168
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
MACS = bytes.fromhex("020000000002 020000000001")  # to us, from the router: locally administered
SOURCE_PORT, TTL = 40000, 64
LONGEST = 15000  # bytes of an IP packet
_ENDPOINT = re.compile(r"\[([^\]]+)\](?::([0-9]{1,5}))?|([^:\[\]]+)(?::([0-9]{1,5}))?|([0-9A-Fa-f:.]+)")


@dataclass(frozen=True, slots=True)
class Wish:
    """A packet as it was asked for. `length`: of the IP packet; None: as short as it can be."""

    source: Address
    source_port: int
    destination: Address
    port: int
    protocol: int
    flags: int = FLAGS["S"]
    length: int | None = None


def parse_wish(source: str, destination: str, protocol: str, flags: str | None, length: int | None) -> Wish:
    """Return what options say. Raises ConfigError, which names the option."""
    (client, source_port), (vip, port) = parse_endpoint("src", source), parse_endpoint("dst", destination)
    if client.version != vip.version:
        raise ConfigError("src", f"{client} and {vip} are of two families", "give both as IPv4, or both as IPv6")
    number = parse_protocol(protocol, vip.version)
    with_ports = number in PROTOCOLS.values()
    if with_ports and port is None:
        raise ConfigError("dst", f"{destination!r} has no port, and {protocol} wants one", f'write "{vip}:80"')
    if not with_ports and (port is not None or source_port is not None):
        raise ConfigError("proto", f"{protocol} has no ports", "leave them away, or give tcp, udp or sctp")
    if flags is not None and number != TCP:
        raise ConfigError("flags", f"{protocol} has none", "give them with tcp")
    if length is not None:
        within("length", length, 20, LONGEST)
    bits = parse_flags("S" if flags is None else flags)
    return Wish(client, SOURCE_PORT if source_port is None else source_port, vip, port or 0, number, bits, length)


def parse_endpoint(key: str, text: str) -> tuple[Address, int | None]:
    """Return address and port of `192.0.2.10:80`, `[2001:db8::10]:80`, or an address alone. Raises ConfigError."""
    split = _ENDPOINT.fullmatch(text)
    if split is None:
        raise ConfigError(key, f"{text!r} is no address", 'write "192.0.2.10:80" or "[2001:db8::10]:80"')
    address = parse_address(key, split[1] or split[3] or split[5])
    port = split[2] or split[4]
    return address, None if port is None else int(within(key, int(port), 0, 65535))


def parse_protocol(text: str, version: int) -> int:
    """Return a protocol's number. Raises ConfigError."""
    if text.lower() == "icmp":
        return ICMP[version]
    if text.lower() in PROTOCOLS:
        return PROTOCOLS[text.lower()]
    if not re.fullmatch(r"[0-9]{1,3}", text):
        raise ConfigError("proto", f"{text!r} is not known", "give tcp, udp, sctp, icmp, or a number")
    return int(within("proto", int(text), 0, 255))


def parse_flags(text: str) -> int:
    """Return TCP's flags from their letters: FSRPAUEC, or "." for ACK as tcpdump does. Raises ConfigError."""
    letters = text.upper().replace(".", "A")
    if unknown := set(letters) - FLAGS.keys():
        raise ConfigError("flags", f"{sorted(unknown)[0]!r} is no flag of TCP", 'give letters of "FSRPAUEC"')
    return sum(FLAGS[letter] for letter in set(letters))


def parse_hex(text: str) -> bytes:
    """Return a frame's bytes; blanks and colons between them do not matter. Raises ConfigError."""
    try:
        return bytes.fromhex(re.sub(r"[\s:]", "", text.removeprefix("0x")))
    except ValueError:
        fix = "give a frame from its Ethernet header on, two digits a byte"
        raise ConfigError("hex", "is no hexadecimal number", fix) from None


def make_frame(wish: Wish) -> bytes:
    """Return the whole frame, with right lengths and checksums."""
    version = wish.destination.version
    payload = _transport(wish)
    header = 20 if version == 4 else 40
    payload += bytes(max(0, (wish.length or 0) - header - len(payload)))
    payload = _with_checksum(wish, payload)
    length, addresses = header + len(payload), wish.source.packed + wish.destination.packed
    if version == 6:
        fixed = bytes.fromhex("60000000") + len(payload).to_bytes(2, "big") + bytes((wish.protocol, TTL))
        return MACS + ETHERTYPES[6] + fixed + addresses + payload
    fixed = bytes((0x45, 0)) + length.to_bytes(2, "big") + bytes.fromhex("00004000") + bytes((TTL, wish.protocol))
    sum16 = _checksum(fixed + addresses)
    return MACS + ETHERTYPES[4] + fixed + sum16 + addresses + payload


def _transport(wish: Wish) -> bytes:
    ports = wish.source_port.to_bytes(2, "big") + wish.port.to_bytes(2, "big")
    if wish.protocol == TCP:
        return ports + bytes(8) + bytes((0x50, wish.flags)) + bytes.fromhex("ffff 0000 0000")
    if wish.protocol == UDP:
        header = 20 if wish.destination.version == 4 else 40
        return ports + max(8, (wish.length or 0) - header).to_bytes(2, "big") + bytes(2)
    if wish.protocol == SCTP:
        return ports + bytes(8) + bytes.fromhex("01000014") + bytes(16)  # an INIT (RFC 9260, 3.3.2)
    if wish.protocol == ICMP[wish.destination.version]:
        return bytes((8 if wish.destination.version == 4 else 128, 0)) + bytes.fromhex("0000 0001 0001")
    return b""


_CHECKSUM_AT = {TCP: 16, UDP: 6, 1: 2, 58: 2}


def _with_checksum(wish: Wish, payload: bytes) -> bytes:
    at = _CHECKSUM_AT.get(wish.protocol)
    if at is None or len(payload) < at + 2:
        return payload
    pseudo = b""
    if wish.protocol != 1:
        addresses = wish.source.packed + wish.destination.packed
        pseudo = addresses + len(payload).to_bytes(4, "big") + wish.protocol.to_bytes(4, "big")
    return payload[:at] + _checksum(pseudo + payload) + payload[at + 2 :]


def _checksum(data: bytes) -> bytes:
    """RFC 1071."""
    total = sum(int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")
