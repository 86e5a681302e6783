"""The packet's way, packet by packet: what leaves, whole, and what is counted."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether

from tests.rig.oracle import Oracle
from tests.rig.packets import (
    BACKENDS4,
    BACKENDS6,
    CLIENT4,
    LB4,
    LB6,
    LB_MAC,
    NEXT_MAC,
    ROUTER_MAC,
    VIP4,
    VIP6,
    config,
    dns,
    frame,
    one_hop_on,
    service,
    tcp,
    udp,
)
from tests.rig.xdp import Action, Xdp, desired
from xdplb import hashing
from xdplb.model import Vip

BOTH = [*BACKENDS4, *BACKENDS6]


@pytest.mark.parametrize(("vip", "protocol"), [(VIP4, 4), (VIP6, 41)])
def test_packet_for_a_vip_leaves_in_ipv4_for_its_backend(xdp: Xdp, vip: str, protocol: int) -> None:
    xdp.serve(config(service(backends=BACKENDS4[:1])))
    sent = tcp(vip=vip)

    action, left = xdp.run(sent)

    assert action is Action.TX
    assert (left.src, left.dst) == (LB_MAC, NEXT_MAC)
    outer = left[IP]
    assert (outer.src, outer.dst, outer.proto, outer.ttl) == (LB4, str(BACKENDS4[0].address), protocol, 64)
    assert (outer.len, outer.flags) == (len(sent) - 14 + 20, "DF")
    assert outer.chksum == IP(bytes(outer.copy().__class__(**{**outer.fields, "chksum": None}))[:20]).chksum
    assert bytes(left)[34:] == one_hop_on(sent)  # DSR: the backend sees the client's own packet


@pytest.mark.parametrize(("vip", "protocol"), [(VIP4, 4), (VIP6, 41)])
def test_packet_for_a_vip_leaves_in_ipv6_for_its_backend(xdp: Xdp, vip: str, protocol: int) -> None:
    xdp.serve(config(service(backends=BACKENDS6[:1])))
    sent = tcp(vip=vip)

    action, left = xdp.run(sent)

    assert action is Action.TX
    outer = left[IPv6]
    assert (outer.src, outer.dst, outer.nh, outer.hlim) == (LB6, str(BACKENDS6[0].address), protocol, 64)
    assert outer.plen == len(sent) - 14
    assert bytes(left)[54:] == one_hop_on(sent)


def test_udp_is_balanced_like_tcp(xdp: Xdp) -> None:
    xdp.serve(config(dns()))

    action, left = xdp.run(udp())

    assert action is Action.TX
    assert left[IP].dst in {str(b.address) for b in BACKENDS4}


def test_tcp_service_does_not_take_udp_of_the_same_port(xdp: Xdp) -> None:
    xdp.serve(config(service()))

    assert xdp.run(udp(dport=80))[0] is Action.PASS
    assert xdp.reasons() == {"passed_no_service": 1}


@pytest.mark.parametrize("vip", [VIP4, VIP6])
@pytest.mark.parametrize("backends", [BACKENDS4, BACKENDS6])
@pytest.mark.parametrize("traffic_class", [0, 0x03, 0xB8, 0xFF])
def test_dscp_and_ecn_are_copied_to_the_outer_header(xdp: Xdp, vip: str, backends: Any, traffic_class: int) -> None:
    xdp.serve(config(service(backends=backends)))
    field: dict[str, Any] = {"tc" if ":" in vip else "tos": traffic_class}

    _, left = xdp.run(tcp(vip=vip, **field))

    assert (left[IP].tos if left.type == 0x800 else left[IPv6].tc) == traffic_class


def test_ethernet_padding_is_not_counted_into_the_outer_length(xdp: Xdp) -> None:
    xdp.serve(config(service()))
    sent = bytes(tcp()).ljust(60, b"\0")

    _, left = xdp.run(sent)

    assert left[IP].len == 20 + 40
    assert len(left) == 60 + 20


def test_all_packets_of_a_flow_go_to_one_backend_and_flows_to_all(xdp: Xdp) -> None:
    xdp.serve(config(service(backends=BOTH)))
    chosen = set()
    for port in range(2000, 2200):
        first, second = (bytes(xdp.run(tcp(port, flags=flags))[1])[:54] for flags in ("S", "PA"))
        assert first[14:34] == second[14:34] or first[22:54] == second[22:54]
        chosen.add(first[30:34] if first[12:14] == b"\x08\x00" else first[38:54])
    assert len(chosen) == len(BOTH)


def test_traffic_counts_frames_bytes_and_new_connections(xdp: Xdp) -> None:
    (desired,) = xdp.serve(config(service(backends=BACKENDS4[:1])))
    packets = [tcp(flags=flags) for flags in ("S", "SA", "A", "PA", "FA", "SE")]

    for packet in packets:
        xdp.run(packet)

    sent = xdp.kernel.traffic()[desired.backends[0].identity]
    assert (sent.packets, sent.bytes, sent.connections) == (6, sum(map(len, packets)), 2)
    assert xdp.reasons() == {}


@pytest.mark.parametrize(
    ("reason", "packet"),
    [
        ("passed_not_ip", Ether(src=ROUTER_MAC, dst=LB_MAC) / ARP()),
        ("passed_vlan", Ether(src=ROUTER_MAC, dst=LB_MAC) / Dot1Q(vlan=7) / IP(dst=VIP4) / TCP(dport=80)),
        ("passed_icmp", frame(ICMP(), "192.0.2.77")),
        ("passed_icmp", frame(ICMP(type=13), VIP4)),
        ("passed_icmp", frame(ICMPv6EchoRequest(), "2001:db8::77")),
        ("passed_icmp", frame(ICMPv6ND_NS(tgt=VIP6), VIP6)),
        ("passed_protocol", frame(GRE(), VIP4)),
        ("passed_no_service", frame(IPv6ExtHdrHopByHop() / TCP(dport=81), VIP6)),
        ("passed_no_service", frame(TCP(dport=80), "192.0.2.77", flags="MF")),
        ("passed_no_service", frame(TCP(dport=80), "192.0.2.77", options=[("NOP")])),
        ("passed_no_service", frame(TCP(dport=80), "192.0.2.77", ttl=1)),
        ("passed_fragment", frame(TCP(dport=80), "192.0.2.77", frag=3)),
        ("passed_truncated", bytes(tcp())[:50]),
        ("passed_no_service", tcp(dport=81)),
        ("passed_no_service", tcp(vip="192.0.2.11")),
        ("passed_no_service", tcp(vip="2001:db8::11")),
    ],
)
def test_what_is_not_for_a_vip_reaches_the_host_untouched(xdp: Xdp, reason: str, packet: Any) -> None:
    xdp.serve(config(service(backends=BOTH), dns(BOTH)))

    assert xdp.run_bytes(bytes(packet)) == (Action.PASS, bytes(packet))
    assert xdp.reasons() == {reason: 1}


def test_each_of_fifty_vips_is_found_in_the_one_row_or_the_other(xdp: Xdp) -> None:
    vips = tuple(Vip(ip_address(0xC0000200 + n * n * 7919), 80) for n in range(50))
    xdp.serve(config(service(vips=vips)))
    first = {number for vip in vips for number in hashing.key_rows(hashing.vip_key(vip), xdp.kernel.spec.seed, 8)[:1]}
    assert set(xdp.kernel.tables().services) - first  # some lie in their second row

    assert {xdp.run(tcp(vip=str(vip.address)))[0] for vip in vips} == {Action.TX}


def test_an_address_that_differs_only_in_its_upper_half_is_a_stranger_even_in_the_same_row(xdp: Xdp) -> None:
    xdp.serve(config(service()))
    seed, vip = xdp.kernel.spec.seed, Vip(ip_address(VIP6), 80)
    (number,) = (n for n, row in xdp.kernel.tables().services.items() if row.key == hashing.vip_key(vip))
    low = int(vip.address) & (1 << 64) - 1
    others = (Vip(ip_address(high << 64 | low), 80) for high in range(0x20010DB900000000, 0x20010DB900001000))
    stranger = next(other for other in others if number in hashing.key_rows(hashing.vip_key(other), seed, 8))

    assert xdp.run(tcp(vip=str(stranger.address)))[0] is Action.PASS
    assert xdp.reasons() == {"passed_no_service": 1}


def test_packet_longer_than_its_frame_is_dropped(xdp: Xdp) -> None:
    xdp.serve(config(service()))
    lying = tcp()
    lying[IP].len += 1

    assert xdp.run(lying)[0] is Action.DROP
    assert xdp.reasons() == {"dropped_malformed": 1}


def test_service_without_a_backend_that_is_up_drops(xdp: Xdp) -> None:
    xdp.serve(config(service(backends=BACKENDS4[:1])), down={BACKENDS4[0].name})

    assert xdp.run(tcp())[0] is Action.DROP
    assert xdp.reasons() == {"dropped_no_backend": 1}


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_every_truncation_is_survived_and_counted_once(xdp: Xdp, vip: str) -> None:
    xdp.serve(config(service(backends=BOTH)))
    whole = bytes(tcp(vip=vip))

    for size in range(14, len(whole)):
        assert xdp.run_bytes(whole[:size])[0] is Action.PASS
    assert xdp.reasons() == {"passed_truncated": len(whole) - 14}


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_flows_of_a_moving_slot_stay_and_new_ones_go_to_the_new_backend(xdp: Xdp, vip: str) -> None:
    xdp.serve(config(service(backends=BACKENDS4[:1])))
    old = str(BACKENDS4[0].address)
    xdp.apply(desired(config(service(backends=BACKENDS4[:2]))))
    words = {w for w in xdp.kernel.tables().slots if w >> 62}
    assert words

    opened = {port: xdp.run(tcp(port, vip))[1][IP].dst for port in range(5000, 5200)}
    assert set(opened.values()) == {old, str(BACKENDS4[1].address)}
    assert {port: xdp.run(tcp(port, vip, "A"))[1][IP].dst for port in opened} == opened
    assert {xdp.run(tcp(port, vip, "A"))[1][IP].dst for port in range(6000, 6200)} == {old}

    xdp.apply(desired(config(service(backends=BACKENDS4[:2])), down={BACKENDS4[0].name}))
    assert {xdp.run(tcp(port, vip, "A"))[1][IP].dst for port in opened} == {str(BACKENDS4[1].address)}


def headers() -> st.SearchStrategy[bytes]:
    """Frames that are nearly right: VIPs and strangers, both families, any flags, lengths that may lie, mutations."""
    address4, address6 = st.sampled_from([VIP4, "192.0.2.77"]), st.sampled_from([VIP6, "2001:db8::77"])
    port, size = st.integers(0, 65535), st.integers(0, 40)

    def build(vip: str, transport: Any, payload: int, tos: int, lie: int, cut: int, flip: tuple[int, int]) -> bytes:
        packet = frame(transport / bytes(payload), vip, **{"tc" if ":" in vip else "tos": tos})
        if lie:
            field = "plen" if ":" in vip else "len"
            layer = packet[IPv6] if ":" in vip else packet[IP]
            setattr(layer, field, max(0, min(65535, getattr(layer, field) + lie)))
        raw = bytearray(bytes(packet))
        raw[flip[0] % len(raw)] ^= flip[1]
        return bytes(raw[: max(14, len(raw) - cut)])

    flags = st.integers(0, 255)
    transport = st.one_of(
        st.builds(lambda s, f, d: TCP(sport=s, dport=d, flags=f), port, flags, st.sampled_from([80, 81])),
        st.builds(lambda s, d: udp(s, dport=d)["UDP"].copy(), port, st.sampled_from([53, 80])),
    )
    lie = st.sampled_from([0, 0, 0, 1, -1, 60000, -60])
    cut = st.one_of(st.just(0), st.just(0), st.integers(0, 60))
    flip = st.tuples(st.integers(0, 200), st.sampled_from([0, 0, 0, 1, 0x80, 0xFF]))
    return st.builds(build, st.one_of(address4, address6), transport, size, st.integers(0, 255), lie, cut, flip)


@pytest.mark.root
@pytest.mark.parametrize("moving", [False, True])
def test_program_and_oracle_agree_on_generated_packets(xdp: Xdp, moving: bool) -> None:
    services = xdp.serve(config(service(backends=BOTH), dns(BOTH)))
    if moving:
        services = desired(config(service(backends=BOTH[1:]), dns(BOTH)), down={BOTH[3].name})
        xdp.apply(services)
    oracle = Oracle(xdp.kernel.spec)
    oracle.serve(services, tables := xdp.kernel.tables())

    @settings(max_examples=500, deadline=None, derandomize=False, database=None)
    @given(headers() | st.binary(min_size=14, max_size=120))
    def compare(packet: bytes) -> None:
        expected = oracle.walk(packet)
        before, counted = xdp.kernel.verdicts(), xdp.kernel.traffic()

        action, left = xdp.run_bytes(packet)

        assert action is expected.action
        assert left == expected.frame or action is Action.DROP
        after = xdp.kernel.verdicts()
        assert [r for r in after if after[r] != before[r]] == ([expected.reason] if expected.reason else [])
        moved = {i: (t.packets, t.bytes, t.connections) for i, t in xdp.kernel.traffic().items() if t != counted[i]}
        if expected.reason:
            assert moved == {}
        else:
            identity = tables.backends[expected.backend].identity
            was = counted[identity]
            now = (was.packets + 1, was.bytes + len(packet), was.connections + expected.opens)
            assert moved == {identity: now}

    compare()


def test_client_address_alone_does_not_decide(xdp: Xdp) -> None:
    """The hash covers the ports: one client behind a NAT is spread over all backends."""
    xdp.serve(config(service()))
    backends = {xdp.run(tcp(port))[1][IP].dst for port in range(1000, 1100)}
    assert {CLIENT4} == {tcp(port)[IP].src for port in range(1000, 1100)}
    assert backends == {str(b.address) for b in BACKENDS4}
