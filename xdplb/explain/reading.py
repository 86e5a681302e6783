"""Which flow a frame is of, read as bpf/parse.h and bpf/parse_any.h do; and where they cannot say, why not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from xdplb.dataplane.plane import Spec
from xdplb.explain.layers import EXTENSIONS, TAGS, TYPES, protocol_name
from xdplb.explain.making import FLAGS, ICMP, SCTP, TCP, UDP
from xdplb.hashing import mapped
from xdplb.model import Address

PLAIN, ECHO, ERROR, LATER = "packet", "echo request", "ICMP error", "later fragment"
HEADER_BYTES = {TCP: 20, UDP: 8, SCTP: 16}  # SCTP: with what its first chunk begins with
ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
ECHO_TYPE = {4: 8, 6: 128}
MOST_EXTENSIONS = 8
FRAGMENT, AUTHENTICATION = 44, 51


@dataclass(slots=True)
class Packet:
    """A packet as far as it was read. Of an ICMP error, source, protocol and ports are its flow's."""

    frame: bytes
    at: int  # where its IP header begins
    source: Address
    sender: Address
    destination: Address
    protocol: int
    length: int  # of the IP packet, by its own account
    ttl: int
    ports: tuple[int, int] = (0, 0)
    flags: int = 0
    kind: str = PLAIN
    ordinary: bool = False

    @property
    def version(self) -> int:
        """Its family."""
        return self.destination.version

    @property
    def opens(self) -> bool:
        """Whether it begins a connection: SYN without ACK, or SCTP's INIT."""
        return self.flags & (FLAGS["S"] | FLAGS["A"]) == FLAGS["S"]

    @property
    def closes(self) -> bool:
        """Whether it has a FIN or RST."""
        return bool(self.flags & (FLAGS["F"] | FLAGS["R"]))


@dataclass(frozen=True, slots=True)
class Ended:
    """Why no flow could be found: the reason that the program should name, and what is the matter with this packet."""

    reason: str
    why: str
    packet: Packet | None = None


def cut_off(what: str, packet: Packet | None = None) -> Ended:
    """Say that a frame ends inside its headers."""
    return Ended("passed_truncated", f"the frame ends inside {what}", packet)


class Reader:
    """Reads frames for one program. `fragments`: what is remembered of fragmented packets, as in the kernel."""

    def __init__(self, spec: Spec, is_vip: Callable[[Address], bool], fragments: Mapping[bytes, bytes]) -> None:
        self._spec, self._is_vip, self._fragments = spec, is_vip, fragments
        self._with_ports = {TCP, UDP, SCTP} if spec.sctp else {TCP, UDP}

    def read(self, frame: bytes) -> Packet | Ended:
        """Return the packet, or why its way ends here."""
        if len(frame) < 14 + 20:
            return cut_off(f"what every IP packet has: {len(frame)} bytes")
        at, kind = 14, _number(frame, 12)
        while self._spec.vlan and kind in TAGS and at < 14 + 8:
            at, kind = at + 4, _number(frame, at + 2)
        if len(frame) < at + 20:
            return cut_off("what every IP packet has, behind its tags")
        if kind in TAGS:
            why = "it has more than two VLAN tags" if self._spec.vlan else "it has a VLAN tag, and none is configured"
            return Ended("passed_vlan", why)
        if kind == 0x0800 and self._spec.vip4:
            return self._read4(frame, at)
        if kind == 0x86DD and self._spec.vip6:
            return self._read6(frame, at)
        if kind in (0x0800, 0x86DD):
            return Ended("passed_not_ip", f"it is IPv{4 if kind == 0x0800 else 6}, and no VIP is of that family")
        return Ended("passed_not_ip", f"it is {TYPES.get(kind, f'of Ethernet type 0x{kind:04x}')}, not IP")

    def _read4(self, frame: bytes, at: int) -> Packet | Ended:
        ip = frame[at : at + 20]
        source, destination = IPv4Address(ip[12:16]), IPv4Address(ip[16:20])
        packet = Packet(frame, at, source, source, destination, ip[9], _number(ip, 2), ip[8])
        bits, header_bytes = _number(ip, 6), (ip[0] & 15) * 4
        offset, more = bits & 0x1FFF, bool(bits & 0x2000)
        if ip[0] == 0x45 and not offset and not more and packet.ttl >= 2 and self._knows(packet):
            packet.ordinary = True
            return self._read_ports(packet, at + 20) or packet
        if ip[0] >> 4 != 4 or header_bytes < 20:
            return Ended("passed_not_ip", f"its IPv4 header begins with 0x{ip[0]:02x}, which none does", packet)
        identification = ip[4:6] + bytes(2) if offset or more else None
        return self._read_payload(packet, at + header_bytes, identification, offset > 0)

    def _read6(self, frame: bytes, at: int) -> Packet | Ended:
        ip = frame[at : at + 40]
        if len(ip) < 40:
            return cut_off("its IPv6 header")
        source, destination = IPv6Address(ip[8:24]), IPv6Address(ip[24:40])
        packet = Packet(frame, at, source, source, destination, ip[6], 40 + _number(ip, 4), ip[7])
        if packet.ttl >= 2 and self._knows(packet):
            packet.ordinary = True
            return self._read_ports(packet, at + 40) or packet
        if ip[0] >> 4 != 6:
            return Ended("passed_not_ip", f"its IPv6 header begins with 0x{ip[0]:02x}, which none does", packet)
        return self._skip_extensions(packet, at + 40)

    def _knows(self, packet: Packet) -> bool:
        return packet.protocol in self._with_ports or self._may_be_anybodys(packet)

    def _may_be_anybodys(self, packet: Packet) -> bool:
        """Whether a protocol can be for a VIP of every protocol: those without a meaning of their own for us."""
        never = {0, ICMP[4]} if packet.version == 4 else {ICMP[6], *EXTENSIONS}
        return self._spec.any and packet.protocol not in never

    def _read_ports(self, packet: Packet, at: int) -> Ended | None:
        """Read ports and flags, if the protocol has any."""
        frame, protocol = packet.frame, packet.protocol
        if protocol not in self._with_ports:
            return None
        if len(frame) < at + HEADER_BYTES[protocol]:
            return cut_off(f"its {protocol_name(protocol)} header", packet)
        packet.ports = _number(frame, at), _number(frame, at + 2)
        if protocol == TCP:
            packet.flags = frame[at + 13]
        elif protocol == SCTP and frame[at + 12] == 1:  # INIT
            packet.flags = FLAGS["S"]
        return None

    def _skip_extensions(self, packet: Packet, at: int) -> Packet | Ended:
        """RFC 8200, 4."""
        frame, identification, later = packet.frame, None, False
        for _ in range(MOST_EXTENSIONS):
            header = packet.protocol
            if header not in EXTENSIONS or later:
                break
            if len(frame) < at + 8:
                return cut_off(f"its {EXTENSIONS[header]}", packet)
            packet.protocol, size = frame[at], (frame[at + 1] + 1) * 8
            if header == AUTHENTICATION:
                size = (frame[at + 1] + 2) * 4
            elif header == FRAGMENT:
                size, bits = 8, _number(frame, at + 2)
                later = bits >> 3 > 0
                if later or bits & 1 or identification is not None:
                    identification = frame[at + 4 : at + 8]
            at += size
        return self._read_payload(packet, at, identification, later)

    def _read_payload(self, packet: Packet, at: int, identification: bytes | None, later: bool) -> Packet | Ended:
        """Read what is behind the headers of an unusual packet; `identification` is that of a fragment."""
        if identification is not None and later:
            return self._follow_first(packet, identification)
        if packet.protocol == ICMP[packet.version]:
            if identification is not None:
                return Ended("passed_icmp", "it is ICMP in fragments, which nobody looks into", packet)
            return self._read_icmp(packet, at)
        if not self._knows(packet):
            why = f"it is {protocol_name(packet.protocol)}, and no service is asked by that"
            return Ended("passed_protocol", why, packet)
        return self._read_ports(packet, at) or packet

    def _follow_first(self, packet: Packet, identification: bytes) -> Packet | Ended:
        """A later fragment has no ports: it goes where the first one went."""
        if not self._is_vip(packet.destination):
            return Ended("passed_fragment", f"it is a later fragment for {packet.destination}, which is no VIP", packet)
        key = mapped(packet.source) + mapped(packet.destination) + identification
        ports = self._fragments.get(key + packet.protocol.to_bytes(4, "little"))
        if ports is None:
            why = "it is a later fragment, and of its packet the first one, which has the ports, has not been seen"
            return Ended("dropped_fragment", why, packet)
        packet.ports, packet.kind = (_number(ports, 0), _number(ports, 2)), LATER
        return packet

    def _read_icmp(self, packet: Packet, at: int) -> Packet | Ended:
        frame, version = packet.frame, packet.version
        if len(frame) < at + 8:
            return cut_off("its ICMP header", packet)
        if frame[at] in ERRORS[version]:
            return self._read_quoted4(packet, at + 8) if version == 4 else self._read_quoted6(packet, at + 8)
        if not self._is_vip(packet.destination):
            return Ended("passed_icmp", f"it is ICMP for {packet.destination}, which is no VIP's address", packet)
        if frame[at] == ECHO_TYPE[version] and frame[at + 1] == 0:
            packet.kind = ECHO
            return packet
        if self._spec.any:
            return packet
        return Ended("passed_icmp", "it is neither an echo request nor an error about a flow", packet)

    def _read_quoted4(self, packet: Packet, at: int) -> Packet | Ended:
        quoted = packet.frame[at : at + 20]
        if len(quoted) < 20:
            return cut_off("the packet that its ICMP error quotes", packet)
        header_bytes = (quoted[0] & 15) * 4
        if quoted[0] >> 4 != 4 or header_bytes < 20 or _number(quoted, 6) & 0x1FFF:
            return Ended("passed_icmp", "what its ICMP error quotes is no begin of an IPv4 packet", packet)
        source, destination = IPv4Address(quoted[12:16]), IPv4Address(quoted[16:20])
        return self._turn_round(packet, at + header_bytes, source, destination, quoted[9])

    def _read_quoted6(self, packet: Packet, at: int) -> Packet | Ended:
        quoted = packet.frame[at : at + 40]
        if len(quoted) < 40:
            return cut_off("the packet that its ICMP error quotes", packet)
        if quoted[0] >> 4 != 6:
            return Ended("passed_icmp", "what its ICMP error quotes is no IPv6 packet", packet)
        at, protocol = at + 40, quoted[6]
        if protocol == FRAGMENT:
            header = packet.frame[at : at + 8]
            if len(header) < 8:
                return cut_off("the packet that its ICMP error quotes", packet)
            if _number(header, 2) & 0xFFF8:
                return Ended("passed_icmp", "its ICMP error quotes a later fragment", packet)
            at, protocol = at + 8, header[0]
        return self._turn_round(packet, at, IPv6Address(quoted[8:24]), IPv6Address(quoted[24:40]), protocol)

    def _turn_round(self, packet: Packet, at: int, source: Address, to: Address, protocol: int) -> Packet | Ended:
        """The quoted packet was a VIP's answer: its flow is the other way round."""
        frame = packet.frame
        if source != packet.destination:
            why = f"its ICMP error is about a packet from {source}, not from {packet.destination}, which it is for"
            return Ended("passed_icmp", why, packet)
        packet.source, packet.protocol = to, protocol
        if protocol in self._with_ports:
            if len(frame) < at + 4:
                return cut_off("the ports that its ICMP error quotes", packet)
            packet.ports = _number(frame, at + 2), _number(frame, at)
        elif not self._spec.any or protocol == 0:
            return Ended(
                "passed_icmp", f"its ICMP error is about {protocol_name(protocol)}, which no service has", packet
            )
        packet.kind = ERROR
        return packet


def _number(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 2], "big")
