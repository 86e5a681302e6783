"""Headers in words."""

from __future__ import annotations

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tests.rig.packets import CLIENT4, LB_MAC, ROUTER_MAC, VIP4
from xdplb.explain.layers import layers_of

ETHER = Ether(src=ROUTER_MAC, dst=LB_MAC)
SHOWN = ("Ethernet", f"{ROUTER_MAC} > {LB_MAC}")
TO = IP(src=CLIENT4, dst=VIP4)


@pytest.mark.parametrize(
    ("packet", "layers"),
    [
        (ETHER / ARP(), [("ARP", "")]),
        (ETHER / Dot1Q(vlan=7, prio=2) / TO / TCP(sport=1, dport=80, flags="SA"), [
            ("VLAN", "7 priority 2"),
            ("IPv4", f"{CLIENT4} > {VIP4} ttl 64, id 1, 40 bytes"),
            ("TCP", "1 > 80 SYN ACK"),
        ]),
        (ETHER / IP(src=CLIENT4, dst=VIP4, frag=3, flags="MF", id=0) / bytes(8), [
            ("IPv4", f"{CLIENT4} > {VIP4} ttl 64, fragment at byte 24, more follow, 28 bytes"),
        ]),
        (ETHER / IP(src="10.0.0.1", dst="10.0.0.2", id=0, flags="DF") / TO / UDP(sport=1, dport=53), [
            ("IPv4", "10.0.0.1 > 10.0.0.2 ttl 64, DF, 48 bytes"),
            ("IPv4", f"{CLIENT4} > {VIP4} ttl 64, id 1, 28 bytes"),
            ("UDP", "1 > 53"),
        ]),
        (ETHER / TO / ICMP(type=3, code=4) / IP(src=VIP4, dst=CLIENT4) / TCP(sport=80, dport=9), [
            ("IPv4", f"{CLIENT4} > {VIP4} ttl 64, id 1, 68 bytes"),
            ("ICMP", "unreachable code 4"),
            ("quoting", ""),
            ("IPv4", f"{VIP4} > {CLIENT4} ttl 64, id 1, 40 bytes"),
            ("TCP", "80 > 9 SYN"),
        ]),
        (ETHER / IPv6(src="fd00::1", dst="fd00::2", fl=5) / IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(offset=2), [
            ("IPv6", "fd00::1 > fd00::2 hop limit 64, flow label 0x00005, 56 bytes"),
            ("extension", "destination options"),
            ("fragment", "at byte 16, the last"),
        ]),
        (ETHER / TO / UDP(sport=1, dport=6080) / (b"\0\4\0\0" + bytes(TO / TCP(dport=80))), [
            ("IPv4", f"{CLIENT4} > {VIP4} ttl 64, id 1, 72 bytes"),
            ("UDP", "1 > 6080"),
            ("GUE", "carries IP"),
            ("IPv4", f"{CLIENT4} > {VIP4} ttl 64, id 1, 40 bytes"),
            ("TCP", "20 > 80 SYN"),
        ]),
        (ETHER / b"\x45", [("Ethernet type", "0x9000")]),
    ],
)  # fmt: skip
def test_headers_are_told_from_the_outermost_on(packet: Ether, layers: list[tuple[str, str]]) -> None:
    assert layers_of(bytes(packet), gue_port=6080) == [SHOWN, *layers]


def test_whatever_comes_something_is_said_of_it() -> None:
    rng = random.Random(5)
    whole = bytes(ETHER / TO / ICMP(type=3) / IP() / TCP())
    for _ in range(2000):
        frame = bytearray(whole[: rng.randrange(14, len(whole) + 1)])
        for _ in range(rng.randrange(4)):
            frame[rng.randrange(12, len(frame))] = rng.randrange(256)
        assert layers_of(bytes(frame))[0] == SHOWN
