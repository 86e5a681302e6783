"""What a frame is about, and why that cannot be said. (tools/explain_check compares it with the program.)"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tests.rig.packets import CLIENT4, CLIENT6, LB_MAC, ROUTER_MAC, VIP4, VIP6, frame, tcp, udp
from tests.rig.xdp import SPEC
from xdplb.dataplane.plane import Spec
from xdplb.explain.reading import ECHO, ERROR, LATER, Ended, Packet, Reader
from xdplb.hashing import mapped

ETHER = Ether(src=ROUTER_MAC, dst=LB_MAC)
VIPS = {ip_address(VIP4), ip_address(VIP6)}


def read(packet: Any, spec: Spec = SPEC, fragments: dict[bytes, bytes] | None = None) -> Packet | Ended:
    return Reader(spec, VIPS.__contains__, fragments or {}).read(bytes(packet))


def test_a_plain_packet_has_its_flow() -> None:
    packet = read(tcp(4000, flags="SF"))

    assert isinstance(packet, Packet)
    assert (str(packet.source), packet.ports, str(packet.destination)) == (CLIENT4, (4000, 80), VIP4)
    assert (packet.opens, packet.closes, packet.ordinary, packet.length) == (True, True, True, 40)


@pytest.mark.parametrize(
    "packet",
    [
        frame(TCP(sport=4000, dport=80), VIP4, options=[IPOption_NOP()] * 4),
        frame(IPv6ExtHdrHopByHop() / TCP(sport=4000, dport=80), VIP6),
        frame(ICMP(type=3, code=4) / IP(src=VIP4, dst=CLIENT4) / TCP(sport=80, dport=4000), VIP4, src="10.0.0.1"),
        frame(ICMPv6PacketTooBig() / IPv6(src=VIP6, dst=CLIENT6) / TCP(sport=80, dport=4000), VIP6, src="fd00::1"),
    ],
)
def test_unusual_packets_have_theirs(packet: Any) -> None:
    found = read(packet)

    assert isinstance(found, Packet)
    assert (str(found.source), found.ports, found.protocol, found.ordinary) == (
        CLIENT4 if found.version == 4 else CLIENT6,
        (4000, 80),
        6,
        False,
    )
    assert (found.kind == ERROR) == (found.sender != found.source)


def test_later_fragments_have_the_ports_of_the_first_one() -> None:
    later = frame(bytes(8), VIP4, proto=17, frag=3, id=7)
    key = mapped(ip_address(CLIENT4)) + mapped(ip_address(VIP4)) + b"\0\7\0\0" + (17).to_bytes(4, "little")

    found = read(later, fragments={key: (4000).to_bytes(2, "big") + (53).to_bytes(2, "big") + bytes(4)})

    assert isinstance(found, Packet)
    assert (found.kind, found.ports) == (LATER, (4000, 53))


@pytest.mark.parametrize("packet", [tcp(ttl=1), tcp(vip=VIP6, hlim=1)])
def test_at_the_end_of_its_time_a_packet_is_for_the_other_program(packet: Any) -> None:
    found = read(packet)

    assert isinstance(found, Packet)
    assert not found.ordinary


def test_a_ping_is_one() -> None:
    found = read(frame(ICMP(), VIP4))

    assert isinstance(found, Packet)
    assert found.kind == ECHO


@pytest.mark.parametrize(
    ("packet", "spec", "reason", "words"),
    [
        (ETHER / ARP(), SPEC, "passed_not_ip", "it is ARP, not IP"),
        (tcp(), replace(SPEC, vip4=False), "passed_not_ip", "it is IPv4, and no VIP is of that family"),
        (bytes(tcp())[:14] + b"\x55" + bytes(tcp())[15:], SPEC, "passed_not_ip", "begins with 0x55"),
        (bytes(tcp())[:30], SPEC, "passed_truncated", "what every IP packet has: 30 bytes"),
        (bytes(tcp())[:50], SPEC, "passed_truncated", "ends inside its TCP header"),
        (bytes(tcp(vip=VIP6))[:50], SPEC, "passed_truncated", "ends inside its IPv6 header"),
        (ETHER / Dot1Q() / tcp()[IP], SPEC, "passed_vlan", "it has a VLAN tag, and none is configured"),
        (ETHER / Dot1Q() / Dot1Q() / Dot1Q() / tcp()[IP], replace(SPEC, vlan=True), "passed_vlan", "more than two"),
        (frame(b"", VIP4, proto=47), SPEC, "passed_protocol", "it is GRE, and no service is asked by that"),
        (frame(ICMP(), "192.0.2.99"), SPEC, "passed_icmp", "it is ICMP for 192.0.2.99, which is no VIP's address"),
        (frame(ICMP(type=13), VIP4), SPEC, "passed_icmp", "neither an echo request nor an error"),
        (frame(ICMP(type=3) / IP(src="10.9.9.9") / UDP(), VIP4), SPEC, "passed_icmp", "about a packet from 10.9.9.9"),
        (frame(bytes(8), VIP4, proto=17, frag=3), SPEC, "dropped_fragment", "has not been seen"),
        (frame(bytes(8), "192.0.2.99", proto=17, frag=3), SPEC, "passed_fragment", "for 192.0.2.99, which is no VIP"),
        (frame(IPv6ExtHdrFragment(offset=2, nh=17) / bytes(8), VIP6), SPEC, "dropped_fragment", "has not been seen"),
        (bytes(udp(ttl=1))[:40], SPEC, "passed_truncated", "ends inside its UDP header"),
    ],
)
def test_why_no_flow_is_found_is_told(packet: Any, spec: Spec, reason: str, words: str) -> None:
    found = read(packet if isinstance(packet, bytes) else bytes(packet), spec)

    assert isinstance(found, Ended)
    assert found.reason == reason
    assert words in found.why
