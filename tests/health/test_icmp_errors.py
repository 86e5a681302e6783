"""ICMP errors about our outer packets: real ones of a kernel, and forged ones that must not wake us.

lb 10.0.2.2 (listens)  ──  router  ──  b1 10.0.11.2 (no agent)
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP, IPOption
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6ParamProblem, IPv6
from scapy.packet import Raw

from tools.lab.net import Lab, address
from xdplb.health.icmp_errors import Error, assemble, attach_filter, open_raw, read_error

LB, B1 = ({version: address(host, version) for version in (4, 6)} for host in ("lb", "b1"))
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
PATIENCE_S = 5.0
GUE = 6080


@pytest.fixture(scope="module", params=[4, 6])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def listening(second_lab: Lab, version: int) -> Iterator[socket.socket]:
    """The balancer's socket, for errors about what it sends from its own address."""
    with second_lab.inside("lb"), open_raw(FAMILY[version]) as opened:
        attach_filter(opened, FAMILY[version], [ip_network(LB[version])], {GUE})
        opened.settimeout(PATIENCE_S)
        yield opened


def send(lab: Lab, host: str, version: int, protocol: int, payload: bytes, to: str) -> None:
    """Have a host's kernel send a packet of any protocol."""
    with lab.inside(host), socket.socket(FAMILY[version], socket.SOCK_RAW, protocol) as opened:
        opened.sendto(payload, (to, 0))


def gue() -> bytes:
    return bytes(UDP(sport=50000, dport=GUE, chksum=0) / Raw(bytes([0, 4, 0, 0]) + bytes(28)))


# --- real ones ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [4, 41])
def test_a_backend_without_the_agent_says_so(
    second_lab: Lab, listening: socket.socket, version: int, protocol: int
) -> None:
    send(second_lab, "lb", version, protocol, bytes(40), B1[version])

    packet, (said_by, *_) = listening.recvfrom(2048)
    error = read_error(packet, version)

    assert error
    assert (error.source, error.destination, error.port) == (ip_address(LB[version]), ip_address(B1[version]), 0)
    asked = f"(is the decap agent running on {B1[version]}?)"
    assert error.cause(said_by) == f"{B1[version]} says: {error.words} {asked}"
    assert error.words in ("protocol unreachable", "port unreachable")  # the latter where a tunnel module is loaded


@pytest.mark.parametrize("version", [4], indirect=True)  # of IPv6, it drops what has no checksum without a word
def test_a_backend_that_does_not_take_gue_says_so(second_lab: Lab, listening: socket.socket, version: int) -> None:
    send(second_lab, "lb", version, socket.IPPROTO_UDP, gue(), B1[version])
    error = read_error(listening.recv(2048), version)
    assert error == Error("port unreachable", ip_address(LB[version]), ip_address(B1[version]), GUE)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("unreachable", {4: "host unreachable", 6: "network unreachable"}),
        ("prohibit", {4: "administratively prohibited", 6: "administratively prohibited"}),
    ],
)
def test_a_router_that_has_no_way_says_so(
    second_lab: Lab, listening: socket.socket, version: int, kind: str, words: dict[int, str]
) -> None:
    there = {4: "10.77.0.1", 6: "fd00:77::1"}[version]
    route = ["ip", f"-{version}", "route"]
    assert second_lab.run("router", [*route, "add", kind, there]).returncode == 0
    try:
        send(second_lab, "lb", version, 4, bytes(40), there)
        packet, (said_by, *_) = listening.recvfrom(2048)
    finally:
        second_lab.run("router", [*route, "del", kind, there])
    error = read_error(packet, version)
    assert error
    assert error.words == words[version]
    cause = error.cause(said_by)
    assert cause.startswith(f"{address('lb', version, 1)} says: {words[version]}")
    assert ("a firewall before" in cause) == (kind == "prohibit")


# --- forged ones --------------------------------------------------------------------------------------------


def outer(version: int, protocol: int = 4, source: str = "", **fields: Any) -> Any:
    usual: dict[str, Any] = {"src": source or LB[version], "dst": B1[version], **fields}
    return IP(proto=protocol, **usual) if version == 4 else IPv6(nh=protocol, **usual)


def forged(version: int, inside: Any, code: int = 3, header: Any = None) -> bytes:
    if version == 4:
        return bytes((header or ICMP(type=3, code=code)) / inside)
    # the checksum is over a pseudo header, and is the kernel's to fill in
    return bytes((header or ICMPv6DestUnreach(code=code, cksum=0)) / inside)


def behind(version: int, port: int = GUE, **fields: Any) -> Any:
    return outer(version, 17, **fields) / UDP(sport=50000, dport=port, chksum=0) / Raw(bytes(32))


def others(version: int) -> dict[str, bytes]:
    """What must not wake us."""
    ipip = outer(version) / Raw(bytes(40))
    stranger = {4: "10.0.2.3", 6: "fd00:2::3"}[version]
    found = {
        "a packet of TCP": forged(version, outer(version, 6) / Raw(bytes(40))),
        "another port": forged(version, behind(version, 53)),
        "another source": forged(version, outer(version, source=stranger) / Raw(bytes(40))),
        "another source, GUE": forged(version, behind(version, source=stranger)),
        "nothing inside": forged(version, Raw(b"")),
        "half a header": forged(version, Raw(bytes(ipip)[:9])),
    }
    if version == 4:
        return found | {
            "fragmentation needed": forged(4, ipip, 4),
            "time exceeded": forged(4, ipip, header=ICMP(type=11)),
            "echo": forged(4, Raw(b"hello"), header=ICMP(type=8)),
            "options inside": forged(4, outer(4, options=[IPOption(b"\x01")] * 4) / Raw(bytes(40))),
        }
    return found | {
        "too big": forged(6, ipip, header=ICMPv6PacketTooBig(cksum=0)),
        "erroneous header": forged(6, ipip, header=ICMPv6ParamProblem(code=0, cksum=0)),
        "unknown option": forged(6, ipip, header=ICMPv6ParamProblem(code=2, cksum=0)),
    }


def test_nothing_else_wakes_us(second_lab: Lab, listening: socket.socket, version: int) -> None:
    protocol = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}[version]
    last = forged(version, behind(version))
    for packet in [*others(version).values(), last]:
        send(second_lab, "router", version, protocol, packet, LB[version])
    error = read_error(listening.recv(2048), version)
    assert error
    assert error.port == GUE  # the last one: all before it were kept from us


def test_the_sources_that_are_listened_for_may_change(second_lab: Lab, listening: socket.socket, version: int) -> None:
    networks = [ip_network(n) for n in ("10.9.0.0/16", "10.0.2.0/29", "fd00:9::/64", "fd00:2::/125")]
    attach_filter(listening, FAMILY[version], networks, ())
    protocol = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}[version]
    outside, inside = ({4: f"10.0.2.{n}", 6: f"fd00:2::{n}"}[version] for n in (8, 7))
    for source in (outside, inside):
        packet = forged(version, outer(version, source=source) / Raw(bytes(40)))
        send(second_lab, "router", version, protocol, packet, LB[version])
    error = read_error(listening.recv(2048), version)
    assert error
    assert error.source == ip_address(inside)


@pytest.mark.parametrize("count", [0, 1, 8, 9, 1000])
def test_whatever_is_configured_the_kernel_takes_the_filter(count: int) -> None:
    networks4 = [ip_network(f"10.{n // 256}.{n % 256}.0/24") for n in range(count)]
    networks6 = [ip_network(f"fd00:{n:x}::1") for n in range(count)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
        attach_filter(four, socket.AF_INET, networks4, range(1, count))
        assert len(assemble(4, networks4, range(1, count))) // 8 < 256
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
        attach_filter(six, socket.AF_INET6, networks6, range(1, count))
        assert len(assemble(6, networks6, range(1, count))) // 8 < 256


# --- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"), [(0, "network unreachable"), (1, "host unreachable"), (10, "host administratively prohibited")]
)
def test_codes_have_words(code: int, words: str) -> None:
    packet = bytes(IP(src="10.0.1.1", dst=LB[4]) / ICMP(type=3, code=code) / outer(4) / Raw(bytes(40)))
    assert read_error(packet, 4) == Error(words, ip_address(LB[4]), ip_address(B1[4]))


def test_an_unknown_code_says_nothing() -> None:
    packet = bytes(IP(src="10.0.1.1", dst=LB[4]) / ICMP(type=3, code=99) / outer(4) / Raw(bytes(40)))
    assert read_error(packet, 4) is None


@given(packet=st.binary(max_size=120), version=st.sampled_from([4, 6]))
def test_no_packet_breaks_it(packet: bytes, version: int) -> None:
    for head in (b"", b"\x45" + bytes(19) + b"\x03\x03" + bytes(6) + b"\x45", b"\x01\x04" + bytes(6) + b"\x60"):
        read_error(head + packet, version)
