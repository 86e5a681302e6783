"""A frame's head is read as far as it goes, and nothing in it is an error."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP

from xdplb.headers import read_headers

FOUR, SIX = IP(src="198.51.100.7", dst="192.0.2.10"), IPv6(src="2001:db8:c::7", dst="2001:db8::10")
E4, E6 = ("198.51.100.7:4000", "192.0.2.10:80"), ("[2001:db8:c::7]:4000", "[2001:db8::10]:80")
PLAIN4, PLAIN6 = ("198.51.100.7", "192.0.2.10"), ("2001:db8:c::7", "2001:db8::10")
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
SYN = TCP(sport=4000, dport=80, flags="SA")


@pytest.mark.parametrize(
    ("packet", "ends", "protocol", "flags"),
    [
        (FOUR / SYN, E4, "tcp", "SA"),
        (SIX / SYN, E6, "tcp", "SA"),
        (FOUR / UDP(sport=4000, dport=80), E4, "udp", ""),
        (FOUR / SCTP(sport=4000, dport=80), E4, "sctp", ""),
        (FOUR / ICMP(type=3, code=4), PLAIN4, "icmp", "3/4"),
        (SIX / ICMPv6EchoRequest(), PLAIN6, "icmp6", "128/0"),
        (IP(src="198.51.100.7", dst="192.0.2.10", options=[b"\1\1\1\1"]) / SYN, E4, "tcp", "SA"),
        (IP(src="198.51.100.7", dst="192.0.2.10", frag=5, proto=17) / b"later", PLAIN4, "udp", "fragment"),
        (SIX / IPv6ExtHdrHopByHop() / SYN, E6, "tcp", "SA"),
        (SIX / IPv6ExtHdrFragment(offset=7, nh=6) / b"later", PLAIN6, "tcp", "fragment"),
        (Dot1Q(vlan=5) / Dot1Q(vlan=6) / FOUR / SYN, E4, "tcp", "SA"),
        (FOUR / FOUR / SYN, PLAIN4, "ipip", ""),
        (IP(src="198.51.100.7", dst="192.0.2.10", proto=99) / b"x", PLAIN4, "99", ""),
        (ARP(), ("02:00:00:00:00:01", "02:00:00:00:00:02"), "arp", ""),
    ],
)
def test_who_to_whom_and_what(packet: Any, ends: tuple[str, str], protocol: str, flags: str) -> None:
    read = read_headers(bytes(ETHER / packet))
    assert (read.ends(), read.protocol, read.flags) == (ends, protocol, flags)


def test_no_frame_is_an_error() -> None:
    rng = Random(1)
    whole = [bytes(ETHER / packet) for packet in (FOUR / SYN, SIX / IPv6ExtHdrHopByHop() / SYN, Dot1Q() / FOUR)]
    for frame in whole:
        for end in range(len(frame)):
            read_headers(frame[:end])
            broken = bytearray(frame[: end + 1])
            broken[rng.randrange(len(broken))] = rng.randrange(256)
            read_headers(bytes(broken))
