"""The agent on a backend: outer headers come off, others pass, strangers are refused."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import UDP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q
from scapy.packet import Raw

from tests.rig.packets import (
    BACKENDS4,
    BACKENDS6,
    LB4,
    LB6,
    VIP4,
    VIP6,
    config,
    one_hop_on,
    service,
    tcp,
)
from tests.rig.tunnels import PORT, WRAPS, Agent, bare, gue, inner, ipip, link, number, outer
from tests.rig.xdp import Action, Xdp
from tools.lab import net
from tools.lab.stand import Stand
from xdplb import decap
from xdplb.dataplane import loader
from xdplb.errors import ConfigError, KernelError, RefusedError

ROOT = Path(__file__).resolve().parents[1]
SOURCES, VIPS = (ip_network(LB4), ip_network(LB6)), (ip_network(VIP4), ip_network(VIP6))
STRICT = decap.Settings(SOURCES, VIPS)
NOT_ECT, ECT1, ECT0, CE = range(4)  # RFC 3168, 5


@pytest.fixture(scope="module")
def place() -> Iterator[loader.Place]:
    place = decap.place_for(f"test-{os.getpid()}")
    place.make()
    yield place
    place.remove()


@pytest.fixture(scope="module")
def loaded(place: loader.Place) -> Agent:
    return Agent(place, STRICT)


@pytest.fixture
def agent(loaded: Agent) -> Agent:
    """The agent that believes the balancer and knows the VIPs."""
    loaded.begin()
    return loaded


@pytest.fixture(scope="module")
def loaded_open(place: loader.Place) -> Agent:
    return Agent(place, decap.Settings(gue_port=7000))


@pytest.fixture
def open_agent(loaded_open: Agent, place: loader.Place) -> Agent:
    """The agent without `--from` and `--vip`, with GUE on port 7000."""
    loaded_open.begin()
    return loaded_open


# --- frames -------------------------------------------------------------------------------------------------

FORMS = [(wrap, out, inn, tags) for wrap in WRAPS for out in (4, 6) for inn in (4, 6) for tags in (0, 1, 2)]


@cache
def form(wrap: str, out: int, inn: int, tags: int, tos: int = 0, outer_tos: int = 0) -> bytes:
    return WRAPS[wrap](inner(inn, tos), out, tags, tos=outer_tos)


# --- what comes off -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vip", [VIP4, VIP6])
@pytest.mark.parametrize("backends", [BACKENDS4[:1], BACKENDS6[:1]])
def test_what_the_balancer_wraps_the_agent_unwraps(xdp: Xdp, agent: Agent, vip: str, backends: Any) -> None:
    xdp.serve(config(service(backends=backends)))
    packet = tcp(vip=vip)
    sent = bytes(packet)
    _, wrapped = xdp.run_bytes(sent)

    action, left = agent.run(wrapped)

    assert action is Action.PASS
    assert left[14:] == one_hop_on(packet)
    assert left[:12] == wrapped[:12]
    assert left[12:14] == (b"\x08\x00" if vip == VIP4 else b"\x86\xdd")
    assert agent.counted() == {"packets": 1, "bytes": len(sent), "ipip": 1}


@pytest.mark.parametrize(("wrap", "out", "inn", "tags"), FORMS)
def test_every_form_leaves_the_clients_packet(agent: Agent, wrap: str, out: int, inn: int, tags: int) -> None:
    expected = bare(inner(inn), tags)
    assert agent.run(form(wrap, out, inn, tags)) == (Action.PASS, expected)
    assert agent.counted() == {"packets": 1, "bytes": len(expected), wrap: 1}


@pytest.mark.parametrize("words", [1, 2, 10])
@pytest.mark.parametrize("wrap", WRAPS)
def test_options_of_the_outer_header_come_off_too(agent: Agent, wrap: str, words: int) -> None:
    options = [IPOption(b"\x01")] * (4 * words)  # NOP, RFC 791, 3.1
    frame = WRAPS[wrap](inner(), options=options)
    assert frame[14] == 0x45 + words
    assert agent.run(frame) == (Action.PASS, bare(inner()))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("words", [1, 2, 31])
def test_the_optional_part_of_a_gue_header_comes_off_too(agent: Agent, version: int, words: int) -> None:
    frame = gue(inner(version), version, head=bytes([words, number(inner(version)), 0, 0]) + b"\xff" * 4 * words)
    assert agent.run(frame) == (Action.PASS, bare(inner(version)))


@pytest.mark.parametrize("version", [4, 6])
def test_an_outer_udp_checksum_is_not_looked_at(agent: Agent, version: int) -> None:
    for checksum in (None, 0x1234):  # the right one, and a wrong one
        frame = gue(inner(), version, udp={"chksum": checksum})
        assert agent.run(frame) == (Action.PASS, bare(inner()))


@pytest.mark.parametrize(("wrap", "out", "inn", "tags"), FORMS)
def test_padding_behind_the_outer_packet_does_not_matter(
    agent: Agent, wrap: str, out: int, inn: int, tags: int
) -> None:
    padding = bytes(17)
    assert agent.run(form(wrap, out, inn, tags) + padding) == (Action.PASS, bare(inner(inn), tags) + padding)


def test_an_inner_packet_that_does_not_fill_the_outer_one_is_handed_on(agent: Agent) -> None:
    frame = ipip(inner() + b"behind it")
    assert agent.run(frame) == (Action.PASS, bare(inner() + b"behind it"))


@pytest.mark.parametrize("out", [4, 6])
@pytest.mark.parametrize("inn", [4, 6])
@pytest.mark.parametrize("wrap", WRAPS)
def test_congestion_marked_on_the_way_reaches_the_client_packet(agent: Agent, wrap: str, out: int, inn: int) -> None:
    """RFC 6040, figure 4: the rows are the inner header's, the columns the outer one's; None is a drop."""
    dscp = 0x2E << 2
    table: dict[int, dict[int, int | None]] = {
        NOT_ECT: {NOT_ECT: NOT_ECT, ECT0: NOT_ECT, ECT1: NOT_ECT, CE: None},
        ECT0: {NOT_ECT: ECT0, ECT0: ECT0, ECT1: ECT1, CE: CE},
        ECT1: {NOT_ECT: ECT1, ECT0: ECT1, ECT1: ECT1, CE: CE},
        CE: {NOT_ECT: CE, ECT0: CE, ECT1: CE, CE: CE},
    }
    for inside, row in table.items():
        for outside, result in row.items():
            agent.begin()
            action, left = agent.run(form(wrap, out, inn, 0, dscp | inside, outside))
            if result is None:
                assert (action, agent.counted()) == (Action.DROP, {"dropped_ecn": 1})
            else:
                expected = bare(inner(inn, dscp | result))  # scapy's own checksum
                assert (action, left) == (Action.PASS, expected), (inside, outside)
                assert agent.counted() == {"packets": 1, "bytes": len(expected), wrap: 1}


# --- what passes, what is dropped ---------------------------------------------------------------------------

HEAD = bytes([0, 4, 0, 0])


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (link() / ARP(), "passed_not_tunnel"),
        (link() / outer(4, 17) / UDP(dport=53), "passed_not_tunnel"),
        (link() / outer(6, 17) / UDP(dport=53), "passed_not_tunnel"),
        (link() / outer(4, 17) / UDP(sport=PORT, dport=53) / Raw(HEAD + inner()), "passed_not_tunnel"),
        (link(2) / Dot1Q() / outer() / Raw(inner()), "passed_not_tunnel"),  # one tag more than is read
        (link() / IPv6(src=LB6) / IPv6ExtHdrHopByHop() / Raw(inner()), "passed_not_tunnel"),
        (link() / outer(4, src=LB4, version=5) / Raw(inner()), "passed_not_tunnel"),
        (link() / outer(4, ihl=4) / Raw(inner()), "passed_not_tunnel"),
        (link() / outer(6, version=4) / Raw(inner()), "passed_not_tunnel"),
        (link() / outer(6, src=f"::ffff:{LB4}") / Raw(inner()), "passed_not_tunnel"),
        (link() / outer(4, flags="MF") / Raw(inner()), "passed_fragment"),
        (link() / outer(4, frag=3) / Raw(inner()), "passed_fragment"),
        (link() / outer(4, 17, frag=3) / Raw(inner()), "passed_fragment"),
        (link() / IPv6(src=LB6) / IPv6ExtHdrFragment(nh=4) / Raw(inner()), "passed_fragment"),
        (gue(inner(), head=bytes([0x20, 4, 0, 0])), "passed_gue_control"),
        (gue(inner(), head=bytes([0x40, 4, 0, 0])), "passed_not_gue"),
        (gue(inner(), head=bytes([0x60, 4, 0, 0])), "passed_not_gue"),
        (gue(inner(), head=bytes([0x80, 4, 0, 0])), "passed_not_gue"),
        (gue(inner(), head=inner()), "passed_not_gue"),  # variant 1: IP at once, draft-ietf-intarea-gue, 4
        (gue(inner(), head=bytes([0, 47, 0, 0])), "passed_not_gue"),
        (gue(inner(), head=bytes([0, 4, 0, 1])), "passed_not_gue"),
        (gue(inner(), head=bytes([0, 4, 0x80, 0])), "passed_not_gue"),
        (bytes(link() / outer(4, 17) / UDP(dport=PORT) / Raw(HEAD[:3])) + bytes(20), "passed_not_gue"),
        (bytes(link())[:14], "passed_not_tunnel"),
    ],
)
def test_what_is_no_tunnel_passes_untouched(agent: Agent, frame: Any, reason: str) -> None:
    assert agent.run(frame) == (Action.PASS, bytes(frame))
    assert agent.counted() == {reason: 1}


LIES = {
    "IPv4 announced as IPv6": ipip(inner(4), proto=41),
    "IPv6 announced as IPv4": ipip(inner(6), proto=4),
    "IPv4 announced as IPv6 by GUE": gue(inner(4), head=bytes([0, 41, 0, 0])),
    "IPv6 announced as IPv4 by GUE": gue(inner(6), head=bytes([0, 4, 0, 0])),
    "IP version 5": ipip(inner(version=5), proto=4),
    "outer IPv4 longer than the frame": ipip(inner(), len=1000),
    "outer IPv6 longer than the frame": ipip(inner(), 6, plen=1000),
    "outer IPv4 longer than the frame, with GUE": gue(inner(), len=1000),
    "outer IPv4 with nothing in it": ipip(inner(), len=20),
    "outer IPv6 with nothing in it": ipip(inner(), 6, plen=0),
    "outer IPv4 shorter than its header": ipip(inner(), len=10),
    "inner IPv4 longer than the frame": ipip(inner(len=1000)),
    "inner IPv6 longer than the frame": ipip(inner(6, plen=1000)),
    "inner IPv4 longer than the outer packet": ipip(inner(), len=20 + len(inner()) - 1),
    "inner IPv6 longer than the outer packet": ipip(inner(6), 6, plen=len(inner(6)) - 1),
    "inner IPv4 longer than the datagram": gue(inner(), udp={"len": 12 + len(inner()) - 1}),
    "inner IPv4 header whole only with padding": ipip(inner()[:19] + bytes(1), len=39),
    "inner IPv4 shorter than its header": ipip(inner(len=19)),
    "inner IPv4 header of 4 words": ipip(inner(ihl=4)),
    "inner IPv4 header longer than its packet": ipip(inner(ihl=15, len=59)),
    "inner IPv6 for an IPv4-mapped address": ipip(inner(6, dst=f"::ffff:{VIP4}")),
    "datagram longer than its packet": gue(inner(), udp={"len": 12 + len(inner()) + 1}),
    "datagram with nothing in it": gue(inner(), udp={"len": 12}),
    "GUE header longer than the datagram": gue(inner(), head=bytes([31, 4, 0, 0])),
}


@pytest.mark.parametrize("frame", LIES.values(), ids=LIES)
def test_a_header_that_lies_is_dropped(agent: Agent, frame: bytes) -> None:
    assert agent.run(frame)[0] is Action.DROP
    assert agent.counted() == {"dropped_malformed": 1}


@pytest.mark.parametrize(("wrap", "out", "inn", "tags"), FORMS)
def test_a_frame_that_ends_anywhere_is_counted_once(agent: Agent, wrap: str, out: int, inn: int, tags: int) -> None:
    frame = form(wrap, out, inn, tags)
    seen = []
    for size in range(14, len(frame)):
        agent.begin()
        action, left = agent.run(frame[:size])
        ((reason, times),) = agent.counted().items()
        assert times == 1
        assert (action, left) == (Action.PASS if reason.startswith("passed") else Action.DROP, frame[:size])
        seen.append(reason)
    headers = len(frame) - len(inner(inn))
    assert seen == ["passed_truncated"] * (headers - 14) + ["dropped_malformed"] * (len(frame) - headers)


# --- from whom, for whom ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize(("out", "source"), [(4, "10.0.2.3"), (6, "fd00:2::3")])
def test_a_tunnel_from_a_stranger_is_dropped(agent: Agent, wrap: str, out: int, source: str) -> None:
    assert agent.run(WRAPS[wrap](inner(), out, src=source))[0] is Action.DROP
    assert agent.counted() == {"dropped_source": 1}


@pytest.mark.parametrize(
    ("network", "believed", "not_believed"),
    [
        ("10.0.2.0/24", ["10.0.2.0", "10.0.2.255"], ["10.0.1.255", "10.0.3.0", "::a00:200", "fd00:2::2"]),
        ("10.0.2.8/29", ["10.0.2.8", "10.0.2.15"], ["10.0.2.7", "10.0.2.16"]),
        ("0.0.0.0/0", ["1.2.3.4"], ["fd00:2::2"]),
        ("fd00:2::/64", ["fd00:2::", "fd00:2::ffff:ffff:ffff:ffff"], ["fd00:2:0:1::", "10.0.2.2"]),
        ("fd00:2::/127", ["fd00:2::1"], ["fd00:2::2"]),
        ("fd00:2::2", ["fd00:2::2"], ["fd00:2::3"]),
    ],
)
def test_a_prefix_is_believed_and_nothing_beside_it(
    agent: Agent, network: str, believed: Sequence[str], not_believed: Sequence[str]
) -> None:
    decap.put_networks(agent.pinned, decap.Settings((decap.parse_network("--from", network),), VIPS))
    for source in (*believed, *not_believed):
        action, _ = agent.run(ipip(inner(), 6 if ":" in source else 4, src=source))
        assert (action is Action.PASS) == (source in believed), source


def test_believed_sources_are_exactly_those_given_last(agent: Agent) -> None:
    decap.put_networks(agent.pinned, decap.Settings(SOURCES[1:], VIPS))
    assert agent.run(ipip(inner(), 4))[0] is Action.DROP
    assert agent.run(ipip(inner(), 6))[0] is Action.PASS


def test_only_what_is_for_a_vip_is_handed_on(agent: Agent) -> None:
    some = decap.Settings(SOURCES, (ip_network("192.0.2.8/30"), ip_network(VIP6)))
    for destination, handed_on in (
        ("192.0.2.8", True),
        ("192.0.2.11", True),
        ("192.0.2.12", False),
        ("10.0.11.2", False),  # the backend's own address
        (VIP6, True),
        ("2001:db8::11", False),
    ):
        agent.begin()
        decap.put_networks(agent.pinned, some)
        action, _ = agent.run(ipip(inner(6 if ":" in destination else 4, dst=destination)))
        assert action is (Action.PASS if handed_on else Action.DROP), destination
        assert ("dropped_vip" in agent.counted()) == (not handed_on)


def test_without_from_and_vip_everything_is_taken_off(open_agent: Agent) -> None:
    for version, source in ((4, "203.0.113.9"), (6, "2001:db8:9::9")):
        packet = inner(dst="10.0.11.2")
        assert open_agent.run(ipip(packet, version, src=source)) == (Action.PASS, bare(packet))


def test_gue_is_taken_off_at_its_port_only(open_agent: Agent) -> None:
    assert open_agent.run(gue(inner(), udp={"dport": 7000})) == (Action.PASS, bare(inner()))
    assert open_agent.run(gue(inner())) == (Action.PASS, gue(inner()))
    counted = open_agent.counted()
    assert (counted["gue"], counted["passed_not_tunnel"]) == (1, 1)


# --- against a model ----------------------------------------------------------------------------------------


class End(Exception):
    """The model's way ends with this reason."""


def need(holds: bool, reason: str) -> None:
    if not holds:
        raise End(reason)


def word(frame: bytes | bytearray, at: int) -> int:
    return int.from_bytes(frame[at : at + 2], "big")


def within(networks: Sequence[decap.Network], address: bytes) -> bool:
    return any(ip_address(address) in network for network in networks)


def model(frame: bytes) -> bytes:
    """Return what STRICT leaves of a frame, or raise End. Written from the RFCs and docs/backends.md."""
    at = 12
    while at < 20 and word(frame, at) in (0x8100, 0x88A8):
        at += 4
        need(at + 2 <= len(frame), "passed_truncated")
    head, kind, at = frame[:at], word(frame, at), at + 2
    need(kind in (0x0800, 0x86DD), "passed_not_tunnel")
    need(at + (20 if kind == 0x0800 else 40) <= len(frame), "passed_truncated")
    ip = frame[at:]
    if kind == 0x0800:
        need(ip[0] >> 4 == 4 and ip[0] & 15 >= 5, "passed_not_tunnel")
        need(not word(ip, 6) & 0x3FFF, "passed_fragment")
        source, protocol, ecn, end, at = ip[12:16], ip[9], ip[1] & 3, at + word(ip, 2), at + (ip[0] & 15) * 4
    else:
        need(ip[0] >> 4 == 6, "passed_not_tunnel")
        need(ip[6] != 44, "passed_fragment")
        source, protocol, ecn, end, at = ip[8:24], ip[6], ip[1] >> 4 & 3, at + 40 + word(ip, 4), at + 40
        need(not source.startswith(bytes(10) + b"\xff\xff"), "passed_not_tunnel")
    inner_end = end
    if protocol == 17:
        need(at + 8 <= len(frame), "passed_truncated")
        need(word(frame, at + 2) == PORT, "passed_not_tunnel")
        inner_end = at + word(frame, at + 4)
        at += 8
        need(inner_end >= at + 4, "passed_not_gue")
        need(at + 4 <= len(frame), "passed_truncated")
        need(frame[at] & 0xE0 != 0x20, "passed_gue_control")
        protocol = frame[at + 1]
        need(frame[at] < 0x40 and protocol in (4, 41) and not word(frame, at + 2), "passed_not_gue")
        at += 4 + (frame[at] & 31) * 4
    need(protocol in (4, 41), "passed_not_tunnel")
    need(within(SOURCES, source), "dropped_source")
    need(inner_end <= end <= len(frame), "dropped_malformed")
    return head + model_inner(frame[at:], inner_end - at, protocol, ecn)


def model_inner(ip: bytes, room: int, protocol: int, outer_ecn: int) -> bytes:
    need(len(ip) >= (20 if protocol == 4 else 40) and ip[0] >> 4 == (4 if protocol == 4 else 6), "dropped_malformed")
    if protocol == 4:
        need((ip[0] & 15) * 4 >= 20 and (ip[0] & 15) * 4 <= word(ip, 2) <= room, "dropped_malformed")
        ecn, destination = ip[1] & 3, ip[16:20]
    else:
        need(40 + word(ip, 4) <= room, "dropped_malformed")
        ecn, destination = ip[1] >> 4 & 3, ip[24:40]
        need(not destination.startswith(bytes(10) + b"\xff\xff"), "dropped_malformed")
    need(within(VIPS, destination), "dropped_vip")
    need((ecn, outer_ecn) != (NOT_ECT, CE), "dropped_ecn")
    new = CE if ecn and outer_ecn == CE else ECT1 if (ecn, outer_ecn) == (ECT0, ECT1) else ecn
    left = bytearray(ip)
    if protocol == 41:
        left[1] = left[1] & 0xCF | new << 4
    elif new != ecn:
        left[1] = left[1] & 0xFC | new
        total = (word(ip, 10) ^ 0xFFFF) + (word(ip, 0) ^ 0xFFFF) + word(left, 0)  # RFC 1624, eqn. 3
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        left[10:12] = (total ^ 0xFFFF).to_bytes(2, "big")
    return (b"\x08\x00" if protocol == 4 else b"\x86\xdd") + bytes(left)


@given(
    which=st.sampled_from(FORMS),
    changes=st.lists(st.tuples(st.integers(12, 130), st.integers(0, 255)), max_size=3),
    marks=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    size=st.none() | st.integers(14, 150),
)
@settings(max_examples=700, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_is_treated_as_the_model_says(
    agent: Agent, which: Any, changes: Any, marks: tuple[int, int], size: int | None
) -> None:
    frame = bytearray(form(*which, *marks))
    for at, value in changes:
        if at < len(frame):
            frame[at] = value
    sent = bytes(frame[:size])
    agent.begin()
    action, left = agent.run(sent)
    try:
        expected = model(sent)
    except End as end:
        (reason,) = end.args
        assert (action, agent.counted()) == (Action.PASS if reason[0] == "p" else Action.DROP, {reason: 1})
        assert left == sent or action is Action.DROP
    else:
        assert (action, left) == (Action.PASS, expected)
        assert agent.counted()["packets"] == 1
        assert len(agent.counted()) == 3


# --- on a real interface ------------------------------------------------------------------------------------

RECEIVER = """
import socket, sys
vip, family = sys.argv[1], socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
receiver = socket.socket(family, socket.SOCK_DGRAM)
receiver.setsockopt(*(socket.IPPROTO_IPV6, 66, 1) if ":" in vip else (socket.IPPROTO_IP, 13, 1))  # the ECN, please
receiver.bind((vip, 53))
print("ready", flush=True)
said, told, _, client = receiver.recvmsg(100, 100)
print(said.decode(), client[0], told[0][2][0] & 3, flush=True)
"""
SENDER = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("b1", 0))
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
wire.send(mac + bytes([2, 0, 0, 0, 0, 1]) + bytes.fromhex(sys.argv[2]))
"""


@pytest.mark.parametrize("out", [4, 6])
@pytest.mark.parametrize("inn", [4, 6])
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_server_hears_the_client(stand: Stand, wrap: str, out: int, inn: int) -> None:
    vip, client = (net.VIP4 if inn == 4 else net.VIP6), net.address("client", inn)
    lb, backend = net.address("lb", out), net.address("b1", out)
    frame = WRAPS[wrap](inner(inn, ECT0, src=client, dst=vip), out, tos=CE, src=lb, dst=backend)
    mac = json.loads(stand.lab.run("b1", ["ip", "-j", "link", "show", "eth0"]).stdout)[0]["address"]

    server = stand.lab.spawn("b1", [sys.executable, "-c", RECEIVER, vip], stdout=subprocess.PIPE)
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    stand.lab.run("router", [sys.executable, "-c", SENDER, mac, frame[12:].hex()])
    said, _ = server.communicate(timeout=10)

    assert said == f"what is your name? {client} {CE}\n"


# --- the rest -----------------------------------------------------------------------------------------------


def test_every_counter_is_documented() -> None:
    struct = re.search(r"struct decapped \{(.*?)\};", (ROOT / "bpf/decap_maps.h").read_text(), re.S)
    assert struct
    counters = re.findall(r"__u64 (\w+);", struct[1])
    assert re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/backends.md").read_text(), re.M) == counters


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", "is no IP address or prefix"),
        ("10.0.2.2:80", "is no IP address or prefix"),
        ("10.0.2.0/33", "is no IP address or prefix"),
        ("10.0.2.0/255.255.255.0", "is no IP address or prefix"),
        ("fe80::%eth0/64", "is no IP address or prefix"),
        ("10.0.2.2/24", "has bits behind its prefix; give 10.0.2.0/24"),
        ("127.0.0.1", "is not the address of one host"),
        ("::ffff:10.0.2.2", "is IPv4-mapped"),
        ("::/0", "holds the IPv4-mapped addresses"),
        ("::ffff:10.0.2.0/120", "holds the IPv4-mapped addresses"),
    ],
)
def test_a_wrong_network_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        decap.parse_network("--from", text)


@pytest.mark.parametrize("text", ["10.0.2.2", "10.0.2.2/32", "10.0.2.0/24", "0.0.0.0/0", "fd00:2::/64", "fd00::1"])
def test_a_right_network_is_taken(text: str) -> None:
    assert decap.parse_network("--from", text) == ip_network(text)


@pytest.mark.parametrize("text", ["", "0", "65536", "99999999", "-1", "x", "6080.0"])
def test_a_wrong_port_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--gue-port: .*; give 1 to 65535"):
        decap.parse_port("--gue-port", text)


def test_more_networks_than_the_map_holds_are_refused(agent: Agent) -> None:
    many = tuple(ip_network(f"10.1.{n // 256}.{n % 256}") for n in range(513))
    with pytest.raises(ConfigError, match="--vip: 513 are too many; give at most 512"):
        decap.put_networks(agent.pinned, decap.Settings(vips=many))
    for vips in (many[1:], many[:-1]):  # a full exchange fits
        decap.put_networks(agent.pinned, decap.Settings(vips=vips))


def test_without_an_agent_there_is_nothing_to_read(place: loader.Place) -> None:
    with pytest.raises(KernelError, match="no decap agent has been started"):
        decap.read_counters(decap.place_for("none"))


def test_an_interface_that_is_not_there_is_refused(place: loader.Place) -> None:
    with pytest.raises(RefusedError, match="interface 'nope0' does not exist; there are: lo"):
        asyncio.run(decap.attach(place, "nope0", STRICT, "native"))
