"""The headers of a frame in words, as far as they are there: for people, whatever the frame is. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from xdplb.explain.making import FLAGS, SCTP, TCP, UDP

TAGS = (0x8100, 0x88A8)
IP_TYPES = {0x0800: 4, 0x86DD: 6}
TYPES = {0x0806: "ARP", 0x88CC: "LLDP", 0x8847: "MPLS", 0x888E: "802.1X", 0x8809: "LACP", 0x8863: "PPPoE"}
NAMES = {1: "ICMP", 2: "IGMP", TCP: "TCP", UDP: "UDP", 47: "GRE", 50: "ESP", 58: "ICMPv6", 89: "OSPF", SCTP: "SCTP"}
NAMES |= {112: "VRRP", 0: "protocol 0"}
EXTENSIONS = {0: "hop-by-hop options", 43: "routing header", 44: "fragment header", 51: "AH", 60: "destination options"}
CARRIES = {4: 4, 41: 6}  # protocols that are IP in IP
ICMP_WORDS = {
    4: {0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded", 12: "parameter problem"},
    6: {1: "unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem", 128: "echo request"},
}
ICMP_WORDS[6] |= {129: "echo reply", 133: "router solicitation", 134: "router advertisement"}
ICMP_WORDS[6] |= {135: "neighbour solicitation", 136: "neighbour advertisement"}
MOST_LAYERS = 16

Layer = tuple[str, str]  # its name, and what its header says


def mac(raw: bytes) -> str:
    """Return a MAC address as people write it."""
    return raw.hex(":")


def protocol_name(number: int) -> str:
    """Return what a protocol is called, or its number."""
    return NAMES.get(number) or EXTENSIONS.get(number) or f"protocol {number}"


def flag_names(flags: int) -> str:
    """Return TCP's flags, most telling ones first."""
    words = {"S": "SYN", "F": "FIN", "R": "RST", "P": "PSH", "A": "ACK", "U": "URG", "E": "ECE", "C": "CWR"}
    return " ".join(word for letter, word in words.items() if flags & FLAGS[letter]) or "no flags"


def layers_of(frame: bytes, gue_port: int = 0) -> list[Layer]:
    """Return the headers from the outermost on. `gue_port`: UDP to it carries IP packets behind a GUE header."""
    found = []
    for layer in _ethernet(frame, gue_port):
        found.append(layer)
        if len(found) == MOST_LAYERS:
            break
    return found


def _ethernet(frame: bytes, gue_port: int) -> Iterator[Layer]:
    yield "Ethernet", f"{mac(frame[6:12])} > {mac(frame[:6])}"
    at, kind = 14, _number(frame, 12)
    while kind in TAGS and len(frame) >= at + 4:
        tag, kind, at = _number(frame, at), _number(frame, at + 2), at + 4
        yield "VLAN", f"{tag & 0xFFF}" + (f" priority {tag >> 13}" if tag >> 13 else "")
    if kind in IP_TYPES:
        yield from _ip(frame, at, IP_TYPES[kind], gue_port)
    else:
        yield TYPES.get(kind, "Ethernet type"), "" if kind in TYPES else f"0x{kind:04x}"


def _ip(frame: bytes, at: int, version: int, gue_port: int) -> Iterator[Layer]:
    header = frame[at : at + (20 if version == 4 else 40)]
    if len(header) < (20 if version == 4 else 40):
        yield f"IPv{version}", f"cut off after {len(header)} bytes"
    elif version == 4:
        yield from _ip4(frame, at, header, gue_port)
    else:
        yield from _ip6(frame, at, header, gue_port)


def _ip4(frame: bytes, at: int, ip: bytes, gue_port: int) -> Iterator[Layer]:
    bits, size = _number(ip, 6), (ip[0] & 15) * 4
    more = [f"ttl {ip[8]}"]
    more += [f"tos 0x{ip[1]:02x}"] if ip[1] else []
    more += [f"id {_number(ip, 4)}"] if _number(ip, 4) else []
    more += ["DF"] if bits & 0x4000 else []
    more += [f"{size - 20} bytes of options"] if size > 20 else []
    offset = bits & 0x1FFF
    if offset or bits & 0x2000:
        more.append(f"fragment at byte {8 * offset}" + (", more follow" if bits & 0x2000 else ", the last"))
    more.append(f"{_number(ip, 2)} bytes")
    yield "IPv4", f"{IPv4Address(ip[12:16])} > {IPv4Address(ip[16:20])} " + ", ".join(more)
    if not offset and size >= 20:
        yield from _payload(frame, at + size, ip[9], 4, gue_port)


def _ip6(frame: bytes, at: int, ip: bytes, gue_port: int) -> Iterator[Layer]:
    first, following = int.from_bytes(ip[:4], "big"), ip[6]
    more = [f"hop limit {ip[7]}"]
    more += [f"class 0x{first >> 20 & 0xFF:02x}"] if first >> 20 & 0xFF else []
    more += [f"flow label 0x{first & 0xFFFFF:05x}"] if first & 0xFFFFF else []
    more.append(f"{40 + _number(ip, 4)} bytes")
    yield "IPv6", f"{IPv6Address(ip[8:24])} > {IPv6Address(ip[24:40])} " + ", ".join(more)
    at += 40
    while following in EXTENSIONS and len(frame) >= at + 8:
        header, size = (
            frame[at : at + 8],
            (frame[at + 1] + (2 if following == 51 else 1)) * (4 if following == 51 else 8),
        )
        if following == 44:
            offset, size = _number(header, 2), 8
            yield "fragment", f"at byte {offset & 0xFFF8}" + (", more follow" if offset & 1 else ", the last")
            if offset & 0xFFF8:
                return
        else:
            yield "extension", EXTENSIONS[following]
        following, at = header[0], at + size
    yield from _payload(frame, at, following, 6, gue_port)


def _payload(frame: bytes, at: int, protocol: int, version: int, gue_port: int) -> Iterator[Layer]:
    if protocol in CARRIES:
        yield from _ip(frame, at, CARRIES[protocol], gue_port)
    elif protocol in (TCP, UDP, SCTP) and len(frame) >= at + 4:
        text = f"{_number(frame, at)} > {_number(frame, at + 2)}"
        if protocol == TCP and len(frame) > at + 13:
            text += f" {flag_names(frame[at + 13])}"
        yield NAMES[protocol], text
        if protocol == UDP and gue_port and _number(frame, at + 2) == gue_port and len(frame) >= at + 12:
            yield "GUE", f"carries {protocol_name(frame[at + 9])}" if frame[at + 9] not in CARRIES else "carries IP"
            yield from _payload(frame, at + 12, frame[at + 9], version, 0)
    elif protocol == (1 if version == 4 else 58) and len(frame) >= at + 2:
        kind, code = frame[at], frame[at + 1]
        yield NAMES[protocol], f"{ICMP_WORDS[version].get(kind, f'type {kind}')}" + (f" code {code}" if code else "")
        if kind in ((3, 11, 12) if version == 4 else (1, 2, 3, 4)) and len(frame) > at + 8:
            yield "quoting", ""
            yield from _ip(frame, at + 8, version, 0)
    else:
        yield protocol_name(protocol), ""


def _number(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 2], "big")
