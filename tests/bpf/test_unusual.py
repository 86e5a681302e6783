"""What is not TCP or UDP behind a plain IP header: options, extension headers, fragments, ICMP, the end of the way."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, ICMPerror, IPerror, TCPerror
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPerror6,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.rig.packets import (
    BACKENDS4,
    BACKENDS6,
    CLIENT4,
    CLIENT6,
    LB_MAC,
    ROUTER_MAC,
    VIP4,
    VIP6,
    config,
    dns,
    frame,
    service,
    tcp,
    udp,
)
from tests.rig.xdp import Action, Xdp

ROUTER4, ROUTER6 = "203.0.113.1", "2001:db8:f::1"


def rebuilt(packet: Any) -> bytes:
    """The same packet with all checksums computed anew."""
    copy = packet.copy()
    for layer in copy.iterpayloads():
        for field in ("chksum", "cksum"):
            if field in layer.fields and not isinstance(layer, IPerror | TCPerror):
                del layer.fields[field]
    return bytes(copy)


def backend_of(left: Any) -> str:
    return str((left[IP] if left.type == 0x800 else left[IPv6]).dst)


@pytest.mark.parametrize(
    "packet",
    [
        frame(TCP(sport=4000, dport=80), VIP4, options=[("NOP"), ("NOP"), ("NOP"), ("EOL")]),
        frame(IPv6ExtHdrHopByHop() / TCP(sport=4000, dport=80), VIP6),
        frame(IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting() / TCP(sport=4000, dport=80), VIP6),
        frame(IPv6ExtHdrFragment(offset=0, m=0, id=9) / TCP(sport=4000, dport=80), VIP6),
    ],
    ids=["options", "hop-by-hop", "two", "atomic fragment"],
)
def test_extra_headers_do_not_change_the_backend(xdp: Xdp, packet: Any) -> None:
    xdp.serve(config(service(backends=[*BACKENDS4, *BACKENDS6])))
    plain = tcp(4000, VIP6 if packet.type == 0x86DD else VIP4)

    action, left = xdp.run(packet)

    assert action is Action.TX
    assert backend_of(left) == backend_of(xdp.run(plain)[1])


def test_too_many_extension_headers_are_the_hosts(xdp: Xdp) -> None:
    xdp.serve(config(service()))
    chain = IPv6ExtHdrDestOpt()
    for _ in range(8):
        chain = chain / IPv6ExtHdrDestOpt()

    assert xdp.run(frame(chain / TCP(dport=80), VIP6))[0] is Action.PASS
    assert xdp.reasons() == {"passed_protocol": 1}


def fragments(vip: str, port: int, number: int) -> list[Any]:
    """A UDP datagram of 3,000 bytes in three fragments."""
    datagram = bytes(UDP(sport=port, dport=53, len=3008) / bytes(3000))
    parts = [datagram[:1200], datagram[1200:2400], datagram[2400:]]
    if ":" in vip:
        headers = [IPv6ExtHdrFragment(nh=17, offset=n * 150, m=n < 2, id=number) for n in range(3)]
        return [frame(header / Raw(part), vip) for header, part in zip(headers, parts, strict=True)]
    return [
        frame(Raw(part), vip, proto=17, id=number, frag=n * 150, flags="MF" if n < 2 else 0)
        for n, part in enumerate(parts)
    ]


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_later_fragments_follow_the_first(xdp: Xdp, vip: str) -> None:
    xdp.serve(config(dns([*BACKENDS4, *BACKENDS6])))
    chosen = set()
    for port in range(6000, 6040):
        whole = backend_of(xdp.run(udp(port, vip))[1])
        parts = [xdp.run(part) for part in fragments(vip, port, port)]
        assert [action for action, _ in parts] == [Action.TX] * 3
        assert {backend_of(left) for _, left in parts} == {whole}
        chosen.add(whole)
    assert len(chosen) == 6


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_later_fragment_without_its_first_is_dropped_and_counted(xdp: Xdp, vip: str) -> None:
    xdp.serve(config(dns()))
    first, second, _ = fragments(vip, 6000, 77)

    assert xdp.run(second)[0] is Action.DROP
    assert xdp.reasons() == {"dropped_fragment": 1}
    xdp.run(first)
    assert xdp.run(second)[0] is Action.TX
    other = fragments(vip, 6000, 78)[1]
    assert xdp.run(other)[0] is Action.DROP


@pytest.mark.parametrize("vip", [VIP4, VIP6])
@pytest.mark.parametrize("kind", ["unreachable", "too big", "time exceeded", "parameter problem"])
def test_icmp_errors_go_to_the_backend_of_the_flow_they_quote(xdp: Xdp, vip: str, kind: str) -> None:
    xdp.serve(config(service(backends=[*BACKENDS4, *BACKENDS6])))
    six = ":" in vip
    types = {"unreachable": (3, 1), "too big": (3, 2), "time exceeded": (11, 3), "parameter problem": (12, 4)}
    header = bytes([types[kind][six], 4 if kind == "too big" and not six else 0]) + bytes(6)
    for port in range(4000, 4030):
        answer = bytes(TCP(sport=80, dport=port, seq=7))[:8]
        quoted = IPv6(src=vip, dst=CLIENT6, nh=6, plen=1400) if six else IP(src=vip, dst=CLIENT4, proto=6, len=1420)
        network = IPv6(src=ROUTER6, dst=vip, nh=58) if six else IP(src=ROUTER4, dst=vip, proto=1)
        sent = Ether(bytes(Ether(src=ROUTER_MAC, dst=LB_MAC) / network / Raw(header + bytes(quoted) + answer)))

        action, left = xdp.run(sent)

        assert action is Action.TX
        assert backend_of(left) == backend_of(xdp.run(tcp(port, vip))[1])


@pytest.mark.parametrize(("offset", "cut", "reason"), [(0, 8, ""), (1, 8, "passed_icmp"), (0, -1, "passed_truncated")])
def test_an_error_about_a_backends_first_fragment_finds_its_flow(xdp: Xdp, offset: int, cut: int, reason: str) -> None:
    """In IPv6 only senders fragment, so a backend hears of a shorter way from an error about a fragment, or never."""
    xdp.serve(config(service(backends=[*BACKENDS4, *BACKENDS6])))
    quoted = IPv6(src=VIP6, dst=CLIENT6) / IPv6ExtHdrFragment(nh=6, offset=offset, m=1, id=7)
    for port in range(4000, 4030):
        text = (bytes(quoted) + bytes(TCP(sport=80, dport=port, seq=7)))[: 48 + cut]
        error = IPv6(src=ROUTER6, dst=VIP6, nh=58) / Raw(bytes((2, 0)) + bytes(6) + text)
        sent = Ether(bytes(Ether(src=ROUTER_MAC, dst=LB_MAC) / error))

        action, left = xdp.run(sent)

        assert action is (Action.PASS if reason else Action.TX)
        assert reason or backend_of(left) == backend_of(xdp.run(tcp(port, VIP6))[1])
    assert xdp.reasons() == ({reason: 30} if reason else {})


def test_an_error_about_somebody_elses_flow_is_the_hosts(xdp: Xdp) -> None:
    xdp.serve(config(service()))
    quoted = IP(src="192.0.2.99", dst=CLIENT4) / TCP(sport=80, dport=4000)
    sent = Ether(src=ROUTER_MAC, dst=LB_MAC) / IP(src=ROUTER4, dst=VIP4) / ICMP(type=3, code=1) / quoted

    assert xdp.run(sent)[0] is Action.PASS
    assert xdp.reasons() == {"passed_icmp": 1}


def test_ping_to_a_vip_is_answered(xdp: Xdp) -> None:
    xdp.serve(config(service()))
    sent = frame(ICMP(type=8, id=7, seq=9) / Raw(b"hello, world"), VIP4, ttl=3)

    action, left = xdp.run(sent)

    assert action is Action.TX
    assert (left.src, left.dst) == (LB_MAC, ROUTER_MAC)
    assert (left[IP].src, left[IP].dst, left[IP].ttl) == (VIP4, CLIENT4, 64)
    assert (left[ICMP].type, left[ICMP].id, left[ICMP].seq, left[Raw].load) == (0, 7, 9, b"hello, world")
    assert rebuilt(left) == bytes(left)
    assert xdp.reasons() == {"answered_echo": 1}


def test_ping_to_an_ipv6_vip_is_answered(xdp: Xdp) -> None:
    xdp.serve(config(service()))

    action, left = xdp.run(frame(ICMPv6EchoRequest(id=7, seq=9, data=b"hello"), VIP6, hlim=1))

    assert action is Action.TX
    assert (left[IPv6].src, left[IPv6].dst, left[IPv6].hlim) == (VIP6, CLIENT6, 64)
    assert (left[ICMPv6EchoReply].id, left[ICMPv6EchoReply].data) == (7, b"hello")
    assert rebuilt(left) == bytes(left)


def test_a_packet_that_does_not_fit_is_answered_with_the_mtu_that_does(xdp: Xdp) -> None:
    xdp.serve(config(service(backends=BACKENDS4)))
    sent = frame(TCP(sport=4000, dport=80) / bytes(1500 - 40), VIP4, flags="DF", id=0x1234)

    action, left = xdp.run(sent)

    assert action is Action.TX
    assert (left.src, left.dst) == (LB_MAC, ROUTER_MAC)
    assert (left[IP].src, left[IP].dst, left[IP].len, left[IP].tos) == (VIP4, CLIENT4, 576, 0xC0)
    assert (left[ICMP].type, left[ICMP].code, left[ICMP].nexthopmtu) == (3, 4, 1480)
    assert bytes(left[ICMPerror] if ICMPerror in left else left[IPerror])[:28] == bytes(sent)[14:42]
    assert bytes(left)[14 + 28 :] == bytes(sent)[14 : 14 + 548]
    assert rebuilt(left) == bytes(left)
    assert xdp.reasons() == {"answered_too_big": 1}
    assert all(sent.packets == 0 for sent in xdp.kernel.traffic().values())


def test_an_ipv6_packet_that_does_not_fit_is_answered_with_the_mtu_that_does(xdp: Xdp) -> None:
    xdp.serve(config(service(backends=BACKENDS6)))
    sent = frame(TCP(sport=4000, dport=80) / bytes(1500 - 60), VIP6)

    action, left = xdp.run(sent)

    assert action is Action.TX
    assert (left[IPv6].src, left[IPv6].dst, left[IPv6].plen) == (VIP6, CLIENT6, 1240)
    assert left[ICMPv6PacketTooBig].mtu == 1460
    assert bytes(left[IPerror6])[:1232] == bytes(sent)[14 : 14 + 1232]
    assert rebuilt(left) == bytes(left)


@pytest.mark.parametrize("size", [1480, 1481])
def test_the_longest_packet_that_fits_is_forwarded(xdp: Xdp, size: int) -> None:
    xdp.serve(config(service(backends=BACKENDS4)))

    action, left = xdp.run(frame(TCP(sport=4000, dport=80) / bytes(size - 40), VIP4))

    assert (left[IP].proto == 4) == (size == 1480)
    assert action is Action.TX


def test_of_backends_with_different_mtus_only_the_one_that_is_meant_counts(xdp: Xdp) -> None:
    xdp.serve(config(service(backends=[BACKENDS4[0], BACKENDS6[0]])))
    for port in range(4000, 4050):
        _, left = xdp.run(frame(TCP(sport=port, dport=80) / bytes(1480 - 40), VIP4))
        short = xdp.run(frame(TCP(sport=port, dport=80), VIP4))[1]
        assert (left[IP].dst == CLIENT4) if short.type == 0x86DD else (left[IP].proto == 4)


@pytest.mark.parametrize("ttl", [0, 1])
def test_the_end_of_a_packets_time_to_live_is_told(xdp: Xdp, ttl: int) -> None:
    xdp.serve(config(service()))
    sent = frame(TCP(sport=4000, dport=80), VIP4, ttl=ttl)

    action, left = xdp.run(sent)

    assert action is Action.TX
    assert (left[IP].src, left[IP].dst) == (VIP4, CLIENT4)
    assert (left[ICMP].type, left[ICMP].code) == (11, 0)
    assert bytes(left)[42:] == bytes(sent)[14:]
    assert rebuilt(left) == bytes(left)
    assert xdp.reasons() == {"answered_ttl": 1}


def test_the_end_of_a_packets_hop_limit_is_told(xdp: Xdp) -> None:
    xdp.serve(config(service()))
    sent = frame(TCP(sport=4000, dport=80), VIP6, hlim=1)

    _, left = xdp.run(sent)

    assert left[ICMPv6TimeExceeded].code == 0
    assert bytes(left)[62:] == bytes(sent)[14:]
    assert rebuilt(left) == bytes(left)


@pytest.mark.parametrize("source", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_who_is_not_one_host_is_told_nothing(xdp: Xdp, source: str) -> None:
    xdp.serve(config(service()))
    sent = Ether(src=ROUTER_MAC, dst=LB_MAC) / IP(src=source, dst=VIP4, ttl=1) / TCP(dport=80)

    assert xdp.run(sent)[0] is Action.DROP
    assert xdp.reasons() == {"dropped_unanswered": 1}


def test_answers_are_limited(xdp: Xdp) -> None:
    xdp.serve(config(service()))

    ping = bytes(frame(ICMP(type=8), VIP4))
    actions = [xdp.run_bytes(ping)[0] for _ in range(400)]

    answered = actions.count(Action.TX)
    assert 64 <= answered < 400
    assert xdp.reasons() == {"answered_echo": answered, "dropped_unanswered": 400 - answered}


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_ttl_becomes_one_less_and_the_checksum_with_it(xdp: Xdp, vip: str) -> None:
    xdp.serve(config(service(backends=BACKENDS4)))
    for number in range(300):
        fields: dict[str, Any] = (
            {"hlim": 2 + number % 254} if ":" in vip else {"ttl": 2 + number % 254, "id": number * 217 % 65536}
        )
        sent = tcp(number + 1000, vip, **fields)
        inner = xdp.run(sent)[1][IP].payload
        assert rebuilt(inner) == bytes(inner)
        assert (inner.hlim if ":" in vip else inner.ttl) == 1 + number % 254
    assert ip_address(vip)
