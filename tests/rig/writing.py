"""The oracle's last part: what leaves (docs/packets.md, sections 5 and 6)."""

from __future__ import annotations

from tests.rig.reading import ECHO_REQUEST, ICMP, Packet
from xdplb.dataplane.plane import Spec
from xdplb.hashing import mapped
from xdplb.tables import BackendRow, Way

ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
IN_IP = {4: 4, 6: 41}  # protocol numbers of an inner packet (IANA)
UDP = 17
MOST = {4: 576, 6: 1280}  # bytes of an ICMP error
TOO_BIG, TTL_EXCEEDED = {4: (3, 4), 6: (2, 0)}, {4: (11, 0), 6: (3, 0)}  # type and code
OUTER_VERSION = {Way.IPIP4: 4, Way.GUE4: 4, Way.IPIP6: 6, Way.GUE6: 6}


def words(*numbers: int) -> bytes:
    """Return 16-bit numbers in network order."""
    return b"".join(number.to_bytes(2, "big") for number in numbers)


def checksum(content: bytes) -> int:
    """RFC 1071, over an even number of bytes."""
    total = int.from_bytes(content, "big")
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))


def updated(check: int, old: int, new: int) -> int:
    """RFC 1624, eqn. 3: the checksum when one of its words has become another."""
    total = (0xFFFF - check) + (0xFFFF - old) + new
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


# --- forwarding ---------------------------------------------------------------------------------------------


def forwarded(
    packet: Packet, row: BackendRow, flow: int, spec: Spec, sent: int, other: BackendRow | None = None
) -> bytes:
    """Return the frame for a backend. `flow` is the hash; `sent` the backend's packets, this one included.

    `other` is named in a header of its own between the outer one and the packet (second chance).
    """
    if row.way is Way.LOCAL:
        return packet.frame
    inner = with_lower_ttl(packet)
    if row.way is Way.L2:
        return ethernet(packet, row, packet.version) + inner
    version, protocol, length = OUTER_VERSION[row.way], IN_IP[packet.version], packet.length
    gue = b""
    if other:
        inside = OUTER_VERSION[other.way]
        middle = (outer4 if inside == 4 else outer6)(packet, other, flow, spec, sent, protocol, length, ttl=63)
        inner, protocol, length = middle + inner, IN_IP[inside], length + len(middle)
    if row.way in (Way.GUE4, Way.GUE6):
        length += 12
        gue = words(0xC000 | flow >> 32 & 0x3FFF, row.gue_port, length & 0xFFFF, 0) + bytes([0, protocol, 0, 0])
        protocol = UDP
    write = outer4 if version == 4 else outer6
    return ethernet(packet, row, version) + write(packet, row, flow, spec, sent, protocol, length) + gue + inner


def ethernet(packet: Packet, row: BackendRow, version: int) -> bytes:
    """The backend's header: with a tag of its own, or else with those that the frame came with."""
    tags = words(0x8100, row.vlan) if row.vlan else packet.frame[12 : packet.at - 2]
    return row.ethernet[:12] + tags + ETHERTYPE[version]


def with_lower_ttl(packet: Packet) -> bytes:
    """The packet, and what stands behind it in the frame, after one hop."""
    ip, rest = packet.frame[packet.at : packet.at + 12], packet.frame[packet.at + 12 :]
    if packet.version == 6:
        return ip[:7] + bytes([ip[7] - 1]) + ip[8:] + rest
    check = updated(ip[10] << 8 | ip[11], ip[8] << 8 | ip[9], (ip[8] - 1) << 8 | ip[9])
    return ip[:8] + bytes([ip[8] - 1, ip[9]]) + words(0 if check == 0xFFFF else check) + rest


def spread(source: bytes, bits: int, flow: int) -> bytes:
    """An outer source whose last bits are a hash's from bit 32 on."""
    number = int.from_bytes(source, "big")
    return (number >> bits << bits | flow >> 32 & (1 << bits) - 1).to_bytes(len(source), "big")


def outer4(
    packet: Packet, row: BackendRow, flow: int, spec: Spec, sent: int, protocol: int, length: int, ttl: int = 64
) -> bytes:
    """RFC 791; RFC 2003, 3.1; TOS as RFC 6040; the identification lies there as this CPU has it, little-endian."""
    fragments = b"\0\0\x40\0" if spec.outer_df else (sent & 0xFFFF).to_bytes(2, "little") + b"\0\0"
    source = spread(row.source.packed, spec.source4_bits, flow)
    start = bytes([0x45, packet.traffic_class]) + words(length + 20 & 0xFFFF) + fragments + bytes([ttl, protocol])
    addresses = source + row.address.packed
    return start + words(checksum(start + addresses)) + addresses


def outer6(
    packet: Packet, row: BackendRow, flow: int, spec: Spec, sent: int, protocol: int, length: int, ttl: int = 64
) -> bytes:
    """RFC 8200; flow label as RFC 6438."""
    first = 6 << 28 | packet.traffic_class << 20 | flow >> 32 & 0xFFFFF
    source = spread(mapped(row.source), spec.source6_bits, flow)
    start = first.to_bytes(4, "big") + words(length & 0xFFFF) + bytes([protocol, ttl])
    return start + source + mapped(row.address)


# --- answering ----------------------------------------------------------------------------------------------


def sent_back(packet: Packet) -> bytes:
    """The Ethernet header of an answer, with its tags."""
    return packet.frame[6:12] + packet.frame[:6] + packet.frame[12 : packet.at]


def echo_reply(packet: Packet) -> bytes:
    """The request the other way round; it has no options and no extension headers."""
    frame, at, version = packet.frame, packet.at, packet.version
    ip_bytes, half = (20, 4) if version == 4 else (40, 16)
    ip, icmp, rest = frame[at : at + ip_bytes], frame[at + ip_bytes : at + ip_bytes + 4], frame[at + ip_bytes + 4 :]
    addresses = ip[-half:] + ip[-2 * half : -half]
    if version == 4:
        check = updated(ip[10] << 8 | ip[11], ip[8] << 8 | ip[9], 64 << 8 | ip[9])
        head = ip[:8] + bytes([64]) + ip[9:10] + words(check) + addresses
    else:
        head = ip[:7] + bytes([64]) + addresses
    request, reply = ECHO_REQUEST[version] << 8, 0 if version == 4 else 129 << 8
    return sent_back(packet) + head + words(reply, updated(icmp[2] << 8 | icmp[3], request, reply)) + rest


def icmp_error(packet: Packet, type_and_code: tuple[int, int], mtu: int = 0) -> bytes:
    """RFC 792, RFC 1191, RFC 4443: from the VIP to who sent the packet, which is quoted."""
    source, destination = packet.vip, packet.source
    header_bytes = 28 if packet.version == 4 else 48
    quoted_bytes = min(packet.length, MOST[packet.version] - header_bytes) // 4 * 4
    rest = words(0, mtu) + packet.frame[packet.at : packet.at + quoted_bytes]
    if packet.version == 4:
        addresses = source[12:] + destination[12:]
        start = bytes([0x45, 0xC0]) + words(28 + quoted_bytes, 0, 0) + bytes([64, ICMP[4]])
        head = start + words(checksum(start + addresses)) + addresses
        pseudo = b""
    else:
        size = words(8 + quoted_bytes)
        head = bytes([0x60, 0, 0, 0]) + size + bytes([ICMP[6], 64]) + source + destination
        pseudo = source + destination + b"\0\0" + size + bytes([0, 0, 0, ICMP[6]])
    first = bytes(type_and_code)
    return sent_back(packet) + head + first + words(checksum(pseudo + first + rest)) + rest
