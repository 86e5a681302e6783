"""The oracle's first part: what a frame is about (docs/packets.md, section 1).

Addresses are 16 bytes, IPv4 in its IPv4-mapped form. What cannot be gone on with is told by its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from xdplb.dataplane.plane import Spec

MAPPED = bytes(10) + b"\xff\xff"
TCP, UDP, SCTP = 6, 17, 132
ICMP = {4: 1, 6: 58}
ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
ECHO_REQUEST = {4: 8, 6: 128}
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = EXTENSIONS = (0, 43, 44, 51, 60)
MOST_EXTENSIONS = 8
HEADER_BYTES = {TCP: 20, UDP: 8, SCTP: 16}  # of SCTP: the common header, and what a chunk begins with
TAGS = (0x8100, 0x88A8)

Datagram = tuple[bytes, bytes, bytes, int]  # source, destination, identification as it lies in memory, protocol
Ports = tuple[int, int]


class Kind(Enum):
    """What a packet is besides a part of a flow."""

    PLAIN = 0
    ECHO = 1
    ERROR = 2
    LATER_FRAGMENT = 3


@dataclass(slots=True)
class Packet:
    """A packet as far as it was read; of an ICMP error, the flow that it is about."""

    frame: bytes
    at: int  # where its IP header begins
    version: int
    source: bytes
    sender: bytes  # differs from the source in ICMP errors
    vip: bytes
    protocol: int
    length: int  # of the IP packet, by its own account
    traffic_class: int
    ttl: int
    ports: Ports = (0, 0)
    opens: bool = False
    closes: bool = False
    answers: bool = False
    kind: Kind = Kind.PLAIN
    ordinary: bool = False


class Reader:
    """Reads frames; remembers the ports of fragmented packets."""

    def __init__(self, spec: Spec, is_vip: Callable[[bytes], bool]) -> None:
        self.spec = spec
        self.is_vip = is_vip
        self.fragments: dict[Datagram, Ports] = {}
        self._with_ports = {TCP, UDP, SCTP} if spec.sctp else {TCP, UDP}
        self._never_any = {4: {0, ICMP[4]}, 6: {ICMP[6], *EXTENSIONS}}

    def read(self, frame: bytes) -> Packet | str:
        """Return the packet, or the reason why its way ends."""
        if len(frame) < 14 + 20:
            return "passed_truncated"
        at, ethertype = 14, frame[12] << 8 | frame[13]
        if self.spec.vlan:
            while ethertype in TAGS and at < 14 + 8:
                at, ethertype = at + 4, frame[at + 2] << 8 | frame[at + 3]
            if len(frame) < at + 20:
                return "passed_truncated"
        if ethertype in TAGS:
            return "passed_vlan"
        if ethertype == 0x0800 and self.spec.vip4:
            return self._read4(frame, at)
        if ethertype == 0x86DD and self.spec.vip6:
            return self._read6(frame, at)
        return "passed_not_ip"

    def _read4(self, frame: bytes, at: int) -> Packet | str:
        ip = frame[at : at + 20]
        source = MAPPED + ip[12:16]
        length = ip[2] << 8 | ip[3]
        packet = Packet(frame, at, 4, source, source, MAPPED + ip[16:20], ip[9], length, ip[1], ip[8])
        offset, more = (ip[6] << 8 | ip[7]) & 0x1FFF, bool(ip[6] & 0x20)
        if ip[0] == 0x45 and not offset and not more and packet.ttl >= 2 and self._is_ordinary(packet):
            return self._ports(packet, at + 20) or packet
        header_bytes = (ip[0] & 15) * 4
        if ip[0] >> 4 != 4 or header_bytes < 20:
            return "passed_not_ip"
        identification = ip[4:6] + b"\0\0" if offset or more else None
        return self._read_payload(packet, at + header_bytes, identification, later=offset > 0)

    def _read6(self, frame: bytes, at: int) -> Packet | str:
        ip = frame[at : at + 40]
        if len(ip) < 40:
            return "passed_truncated"
        source = ip[8:24]
        length, traffic_class = 40 + (ip[4] << 8 | ip[5]), (ip[0] << 4 | ip[1] >> 4) & 0xFF
        packet = Packet(frame, at, 6, source, source, ip[24:40], ip[6], length, traffic_class, ip[7])
        if packet.ttl >= 2 and self._is_ordinary(packet):
            return self._ports(packet, at + 40) or packet
        if ip[0] >> 4 != 6:
            return "passed_not_ip"
        return self._skip_extensions(packet, at + 40)

    def _is_ordinary(self, packet: Packet) -> bool:
        protocol = packet.protocol
        packet.ordinary = protocol in self._with_ports or self._is_any(packet)
        return packet.ordinary

    def _is_any(self, packet: Packet) -> bool:
        """Whether it can only be for a VIP of every protocol."""
        return self.spec.any and packet.protocol not in self._never_any[packet.version]

    def _ports(self, packet: Packet, at: int) -> str:
        """Read ports, if the protocol has any; return why not, or nothing."""
        frame, protocol = packet.frame, packet.protocol
        if protocol not in self._with_ports:
            return ""
        if len(frame) < at + HEADER_BYTES[protocol]:
            return "passed_truncated"
        packet.ports = (frame[at] << 8 | frame[at + 1], frame[at + 2] << 8 | frame[at + 3])
        if protocol == TCP:
            packet.opens = frame[at + 13] & 0x12 == 0x02  # SYN without ACK
            packet.closes = frame[at + 13] & 0x05 != 0  # FIN or RST
            packet.answers = frame[at + 13] & 0x16 == 0x10  # ACK without SYN and RST
        elif protocol == SCTP:
            packet.opens = frame[at + 12] == 1  # INIT
        return ""

    def _skip_extensions(self, packet: Packet, at: int) -> Packet | str:
        """RFC 8200, 4."""
        frame, identification, later = packet.frame, None, False
        for _ in range(MOST_EXTENSIONS):
            header = packet.protocol
            if header not in EXTENSIONS or later:
                break
            if len(frame) < at + 8:
                return "passed_truncated"
            packet.protocol, size = frame[at], (frame[at + 1] + 1) * 8
            if header == AUTHENTICATION:
                size = (frame[at + 1] + 2) * 4
            elif header == FRAGMENT:
                size, offset_more = 8, frame[at + 2] << 8 | frame[at + 3]
                later = offset_more >> 3 > 0
                if later or offset_more & 1 or identification is not None:
                    identification = frame[at + 4 : at + 8]
            at += size
        return self._read_payload(packet, at, identification, later)

    def _read_payload(self, packet: Packet, at: int, identification: bytes | None, later: bool) -> Packet | str:
        """An unusual packet's; `identification` is that of a fragment."""
        if later and identification is not None:
            return self._follow(packet, identification)
        if packet.protocol == ICMP[packet.version]:
            return self._read_icmp(packet, at) if identification is None else "passed_icmp"
        if packet.protocol not in self._with_ports and not self._is_any(packet):
            return "passed_protocol"
        if reason := self._ports(packet, at):
            return reason
        if identification is not None and self.is_vip(packet.vip):
            self.fragments[packet.source, packet.vip, identification, packet.protocol] = packet.ports
        return packet

    def _follow(self, packet: Packet, identification: bytes) -> Packet | str:
        """A later fragment goes where the first one did."""
        if not self.is_vip(packet.vip):
            return "passed_fragment"
        ports = self.fragments.get((packet.source, packet.vip, identification, packet.protocol))
        if ports is None:
            return "dropped_fragment"
        packet.ports, packet.kind = ports, Kind.LATER_FRAGMENT
        return packet

    def _read_icmp(self, packet: Packet, at: int) -> Packet | str:
        frame, version = packet.frame, packet.version
        if len(frame) < at + 8:
            return "passed_truncated"
        if frame[at] in ERRORS[version]:
            return self._read_quoted4(packet, at + 8) if version == 4 else self._read_quoted6(packet, at + 8)
        if not self.is_vip(packet.vip):
            return "passed_icmp"
        if frame[at] == ECHO_REQUEST[version] and frame[at + 1] == 0:
            packet.kind = Kind.ECHO
            return packet
        return packet if self.spec.any else "passed_icmp"

    def _read_quoted4(self, packet: Packet, at: int) -> Packet | str:
        quoted = packet.frame[at : at + 20]
        if len(quoted) < 20:
            return "passed_truncated"
        header_bytes = (quoted[0] & 15) * 4
        if quoted[0] >> 4 != 4 or header_bytes < 20 or (quoted[6] << 8 | quoted[7]) & 0x1FFF:
            return "passed_icmp"
        source, destination = MAPPED + quoted[12:16], MAPPED + quoted[16:20]
        return self._turn_round(packet, at + header_bytes, source, destination, quoted[9])

    def _read_quoted6(self, packet: Packet, at: int) -> Packet | str:
        quoted = packet.frame[at : at + 40]
        if len(quoted) < 40:
            return "passed_truncated"
        if quoted[0] >> 4 != 6:
            return "passed_icmp"
        at, protocol = at + 40, quoted[6]
        if protocol == FRAGMENT:
            header = packet.frame[at : at + 8]
            if len(header) < 8:
                return "passed_truncated"
            if header[2] << 8 | header[3] & 0xF8:
                return "passed_icmp"
            at, protocol = at + 8, header[0]
        return self._turn_round(packet, at, quoted[8:24], quoted[24:40], protocol)

    def _turn_round(self, packet: Packet, at: int, source: bytes, destination: bytes, protocol: int) -> Packet | str:
        """The flow is that of the quoted packet, which a VIP sent, seen from its client."""
        frame = packet.frame
        if source != packet.vip:
            return "passed_icmp"
        packet.kind, packet.source, packet.protocol = Kind.ERROR, destination, protocol
        if protocol in self._with_ports:
            if len(frame) < at + 4:
                return "passed_truncated"
            packet.ports = (frame[at + 2] << 8 | frame[at + 3], frame[at] << 8 | frame[at + 1])
        elif not self.spec.any or protocol == 0:
            return "passed_icmp"
        return packet
