"""Sockets of datagram probes: as long as wanted, and with open ears for routers."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Packet

from tests.rig.tun import BACKENDS, ROUTERS, Wire, wire
from xdplb.health.check import ProbeEnded
from xdplb.health.datagrams import payload_bytes
from xdplb.health.kinds import Kind, Talk
from xdplb.health.probe import Target, probe
from xdplb.model import Check


@pytest.mark.parametrize(
    ("address", "packet_bytes", "payload"),
    [("192.0.2.1", 1500, 1472), ("2001:db8::1", 1500, 1452), ("192.0.2.1", 0, 0), ("192.0.2.1", 10, 1)],
)
def test_a_payload_fills_the_packet(address: str, packet_bytes: int, payload: int) -> None:
    assert payload_bytes(Target(ip_address(address), 53, packet_bytes=packet_bytes), 8) == payload


def unreachable(packet: Packet) -> Packet:
    if packet.version == 4:
        return IP(src=ROUTERS[4], dst=packet.src) / ICMP(type=3, code=1) / bytes(packet)[:28]
    return IPv6(src=ROUTERS[6], dst=packet.src) / ICMPv6DestUnreach(code=3) / bytes(packet)


def ask(there: Wire, version: int, send: bytes, packet_bytes: int = 0) -> ProbeEnded:
    async def run() -> ProbeEnded:
        there.listen()
        check = Check(kind=Kind.UDP, ask=Talk(send), timeout_s=0.2)
        return await probe(check, Target(ip_address(BACKENDS[version]), 53, packet_bytes=packet_bytes))

    return asyncio.run(run())


@pytest.mark.root
def test_what_routers_say_ends_a_probe_at_once_and_packets_stay_whole() -> None:
    with wire() as there:
        for version in (4, 6):
            there.answering = lambda packet: [unreachable(packet)]
            ended = ask(there, version, b"ping")
            assert ended.cause.endswith(": no route to host: somebody on the way says so")
            there.seen.clear()
            there.answering = lambda packet: []
            assert ask(there, version, bytes(1472), 1500).passed is False
            assert len(there.seen) == (version == 4), "1472 bytes are too long for IPv6: not sent in two pieces"
        assert ask(there, 6, bytes(1472)).cause.endswith("an answer did not come within 0.2 s")
        assert len(there.seen) == 2, "without a length to keep to, they are"
