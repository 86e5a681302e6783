"""What a frame's head says of it, for people: who, to whom, which protocol. Pure; nothing is decided by it.

It never fails: what is cut off, or is nothing that it knows, stays empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

TAGS = (0x8100, 0x88A8)
TYPES = {0x0806: "arp", 0x88CC: "lldp", 0x8847: "mpls", 0x8863: "pppoe", 0x8864: "pppoe"}
PROTOCOLS = {1: "icmp", 4: "ipip", 6: "tcp", 17: "udp", 41: "ip6", 47: "gre", 58: "icmp6", 132: "sctp"}
WITH_PORTS = (6, 17, 132)
EXTENSIONS = (0, 43, 44, 51, 60)  # hop by hop, routing, fragment, AH, destination options
MOST_EXTENSIONS = 8
TCP_FLAGS = "FSRPAUEC"  # from the lowest bit on, RFC 9293, 3.1


@dataclass(frozen=True, slots=True)
class Headers:
    """The outermost IP packet of a frame; MAC addresses where there is none. Ports: None where there are none."""

    source: str = ""
    destination: str = ""
    protocol: str = ""
    source_port: int | None = None
    destination_port: int | None = None
    flags: str = ""  # of TCP; type and code of ICMP; "fragment" for a later one

    def ends(self) -> tuple[str, str]:
        """Return source and destination as one writes them, with their ports."""
        return _end(self.source, self.source_port), _end(self.destination, self.destination_port)


def _end(address: str, port: int | None) -> str:
    if port is None:
        return address or "-"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def read_headers(frame: bytes) -> Headers:
    """Return what the head of an Ethernet frame says."""
    at = 12
    while at < 20 and _number(frame, at, 2) in TAGS:
        at += 4
    kind, packet = _number(frame, at, 2), frame[at + 2 :]
    if kind == 0x0800 and len(packet) >= 20:
        return _read4(packet)
    if kind == 0x86DD and len(packet) >= 40:
        return _read6(packet)
    return Headers(frame[6:12].hex(":"), frame[:6].hex(":"), TYPES.get(kind, f"0x{kind:04x}"))


def _number(text: bytes, at: int, size: int) -> int:
    return int.from_bytes(text[at : at + size], "big")


def _read4(packet: bytes) -> Headers:
    ends = str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20]))
    later = _number(packet, 6, 2) & 0x1FFF != 0
    return _read_transport(ends, packet[9], packet[4 * (packet[0] & 15) :], later)


def _read6(packet: bytes) -> Headers:
    """RFC 8200, 4: each header names the next one."""
    ends = str(IPv6Address(packet[8:24])), str(IPv6Address(packet[24:40]))
    protocol, rest, later = packet[6], packet[40:], False
    for _ in range(MOST_EXTENSIONS):
        if protocol not in EXTENSIONS or len(rest) < 8 or later:
            break
        length = {44: 8, 51: (rest[1] + 2) * 4}.get(protocol, (rest[1] + 1) * 8)
        later = protocol == 44 and _number(rest, 2, 2) & 0xFFF8 != 0
        protocol, rest = rest[0], rest[length:]
    return _read_transport(ends, protocol, rest, later)


def _read_transport(ends: tuple[str, str], number: int, text: bytes, later: bool) -> Headers:
    name = PROTOCOLS.get(number, str(number))
    if later:
        return Headers(*ends, name, flags="fragment")
    if number in WITH_PORTS and len(text) >= 4:
        bits = text[13] if number == 6 and len(text) > 13 else 0
        flags = "".join(letter for bit, letter in enumerate(TCP_FLAGS) if bits >> bit & 1)
        return Headers(*ends, name, _number(text, 0, 2), _number(text, 2, 2), flags)
    if number in (1, 58) and len(text) >= 2:
        return Headers(*ends, name, flags=f"{text[0]}/{text[1]}")
    return Headers(*ends, name)
