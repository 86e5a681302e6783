"""Frames from what somebody types are what scapy would have made, checksums and all."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP

from tests.rig.packets import CLIENT4, CLIENT6, VIP4, VIP6
from xdplb.errors import ConfigError
from xdplb.explain.making import make_frame, parse_hex, parse_wish


def made(source: str, to: str, protocol: str = "tcp", flags: str | None = None, length: int | None = None) -> bytes:
    return make_frame(parse_wish(source, to, protocol, flags, length))


@pytest.mark.parametrize(
    ("frame", "layer", "fields"),
    [
        (made(f"{CLIENT4}:4000", f"{VIP4}:80"), TCP, {"sport": 4000, "dport": 80, "flags": "S"}),
        (made(f"[{CLIENT6}]:4000", f"[{VIP6}]:80", flags="."), TCP, {"sport": 4000, "flags": "A"}),
        (made(CLIENT4, f"{VIP4}:53", "udp", length=100), UDP, {"sport": 40000, "dport": 53, "len": 80}),
        (made(CLIENT6, f"[{VIP6}]:53", "udp", length=1000), UDP, {"len": 960}),
        (made(CLIENT4, f"{VIP4}:80", "sctp"), SCTP, {"dport": 80}),
        (made(CLIENT4, VIP4, "icmp"), ICMP, {"type": 8}),
        (made(CLIENT6, VIP6, "icmp"), ICMPv6EchoRequest, {"type": 128}),
        (made(CLIENT4, VIP4, "47"), IP, {"proto": 47, "len": 20}),
    ],
)
def test_a_frame_has_what_was_asked_for(frame: bytes, layer: type, fields: dict[str, object]) -> None:
    packet = Ether(frame)

    assert {name: getattr(packet[layer], name) for name in fields} == fields
    rebuilt = packet.copy()
    for kind in (IP, TCP, UDP, ICMP, ICMPv6EchoRequest):
        if kind in rebuilt:
            for name in ("chksum", "cksum", "len"):
                if name in {field.name for field in kind.fields_desc}:
                    delattr(rebuilt[kind], name)
    assert bytes(rebuilt) == frame
    assert IPv6 not in packet or packet[IPv6].plen == len(frame) - 54


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x", VIP4), "src: 'x' is no IP address"),
        ((CLIENT4, "10.0.0.1:99999"), "dst: 99999 is out of range"),
        ((CLIENT4, f"[{VIP6}]:80"), "src: 198.51.100.7 and 2001:db8::10 are of two families"),
        ((CLIENT4, VIP4), "dst: '192.0.2.10' has no port, and tcp wants one"),
        ((CLIENT4, f"{VIP4}:80", "icmp"), "proto: icmp has no ports"),
        ((CLIENT4, f"{VIP4}:80", "udp", "S"), "flags: udp has none"),
        ((CLIENT4, f"{VIP4}:80", "tcp", "SX"), "flags: 'X' is no flag of TCP"),
        ((CLIENT4, f"{VIP4}:80", "quic"), "proto: 'quic' is not known"),
        ((CLIENT4, VIP4, "256"), "proto: 256 is out of range"),
        ((CLIENT4, f"{VIP4}:80", "tcp", None, 10), "length: 10 is out of range"),
        ((CLIENT4, "a:b:c:d"), "dst: 'a:b:c:d' is no IP address"),
        ((CLIENT4, "[::1"), "dst: '[::1' is no address"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(*arguments)
    assert str(caught.value).startswith(words)


def test_hexadecimal_is_read_as_it_is_copied_from_elsewhere() -> None:
    assert parse_hex("0x02:00 00\n01") == bytes.fromhex("02000001")
    with pytest.raises(ConfigError, match="is no hexadecimal number"):
        parse_hex("0g")
