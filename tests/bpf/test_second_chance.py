"""What names a second backend, byte by byte: the way there, congestion, what lies, and what is no hint at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.rig.packets import LB4, LB6
from tests.rig.second import (
    ELSEWHERE,
    EVERY_FORM,
    FORMS,
    HERE,
    NOBODY,
    SOURCES,
    VIP,
    VIPS,
    datagram,
    nested,
    one_hop_on,
    segment,
)
from tests.rig.tunnels import WRAPS, Agent, bare, ipip, middle, outer, turned
from tests.rig.xdp import Action
from tools.lab.net import VIP4, Lab, address
from xdplb import decap
from xdplb.dataplane import loader

# --- the way there ------------------------------------------------------------------------------------------


@pytest.fixture
def forwarding(second_lab: Lab) -> Iterator[None]:
    """b1 forwards what comes in by `lo`, where test packets do; its routers have another MAC address than those."""
    keys = [Path(f"/proc/sys/net/ipv{version}/conf/lo/forwarding") for version in (4, 6)]
    keys.append(Path("/proc/sys/net/ipv6/conf/all/forwarding"))
    neighbours = [address("b1", version, 1) for version in (4, 6)]
    with second_lab.inside("b1"):
        before = [key.read_text() for key in keys]
        for key in keys:
            key.write_text("1")
    for neighbour in neighbours:
        ip(second_lab, "neigh", "replace", neighbour, "lladdr", "02:00:00:00:00:09", "nud", "permanent", "dev", "eth0")
    yield
    for neighbour in neighbours:
        ip(second_lab, "neigh", "del", neighbour, "dev", "eth0")
    with second_lab.inside("b1"):
        for key, value in zip(keys, before, strict=True):
            key.write_text(value)


def ip(lab: Lab, *command: str) -> str:
    done = lab.run("b1", ["ip", *command])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mid", [4, 6])
@pytest.mark.usefixtures("forwarding")
def test_where_the_host_forwards_its_routes_are_asked(second: Agent, second_lab: Lab, mid: int) -> None:
    found = re.search(r"link/ether (\S+)", ip(second_lab, "link", "show", "eth0"))
    assert found
    own = bytes.fromhex(found[1].replace(":", ""))
    packet = segment(4)

    action, left = second.run(nested(packet, mid=mid))

    assert action is Action.REDIRECT  # it came by lo and leaves by eth0
    assert left[:12] == bytes.fromhex("020000000009") + own
    assert left[12:] == turned(one_hop_on(packet, mid))[12:]
    assert second.counted() == {"handed_on": 1}


@pytest.mark.parametrize(("mid", "other"), [(4, "10.0.11.77"), (6, "fd00:11::77")])
@pytest.mark.usefixtures("forwarding")
def test_a_neighbour_whom_nobody_knows_yet_is_asked_for_by_the_stack(second: Agent, mid: int, other: str) -> None:
    packet = segment(4)
    expected = bare(one_hop_on(packet, mid, dst=other))
    assert second.run(nested(packet, mid=mid, dst=other)) == (Action.PASS, expected)
    assert second.counted() == {"handed_on": 1}


@pytest.mark.parametrize("tags", [1, 2])
@pytest.mark.usefixtures("forwarding")
def test_a_tagged_frame_goes_back_the_way_it_came(second: Agent, tags: int) -> None:
    packet = segment(4)
    assert second.run(nested(packet, tags=tags)) == (ELSEWHERE, turned(one_hop_on(packet), tags))


@pytest.mark.parametrize("mid", [4, 6])
def test_at_the_end_of_its_time_to_live_it_ends_here(second: Agent, mid: int) -> None:
    name = "ttl" if mid == 4 else "hlim"
    for left, expected in ((0, "dropped_ttl"), (1, "dropped_ttl"), (2, "handed_on"), (255, "handed_on")):
        second.begin()
        action, frame = second.run(ipip(middle(segment(4), mid, **{name: left})))
        assert second.counted() == {expected: 1}
        if action is ELSEWHERE:
            assert frame == turned(one_hop_on(segment(4), mid, **{name: left - 1}))
        else:
            assert action is Action.DROP


def test_a_frame_for_a_group_of_hosts_is_not_handed_on(second: Agent) -> None:
    for receiver in (b"\xff" * 6, b"\x01\0\x5e\0\0\1"):
        assert second.run(receiver + nested(segment(4))[6:])[0] is Action.DROP
        assert second.run(receiver + nested(datagram())[6:])[0] is HERE
    assert (second.counted()["dropped_group"], second.counted()["packets"]) == (2, 2)


# --- congestion ---------------------------------------------------------------------------------------------


def carried(inside: int, outside: int) -> int | None:
    """RFC 6040, figure 4; None is a drop."""
    if outside == 3:
        return 3 if inside else None
    return 1 if (inside, outside) == (2, 1) else inside


@pytest.mark.parametrize("mid", [4, 6])
@pytest.mark.parametrize("out", [4, 6])
def test_congestion_is_carried_from_header_to_header(second: Agent, out: int, mid: int) -> None:
    dscp = 0x2E << 2
    for outside in range(4):
        for between in range(4):
            marked = carried(between, outside)
            sent = ipip(middle(segment(4), mid, tos=dscp | between), out, tos=outside)
            action, left = second.run(sent)
            if marked is None:
                assert action is Action.DROP
            else:
                assert (action, left) == (ELSEWHERE, turned(one_hop_on(segment(4), mid, tos=dscp | marked))), between
    assert second.counted() == {"handed_on": 15, "dropped_ecn": 1}


@pytest.mark.parametrize("mid", [4, 6])
@pytest.mark.parametrize("inn", [4, 6])
def test_congestion_reaches_the_client_packet_through_both_headers(second: Agent, mid: int, inn: int) -> None:
    for outside in range(4):
        for between in range(4):
            for inside in range(4):
                second.begin()
                marked = carried(between, outside)
                result = None if marked is None else carried(inside, marked)
                action, left = second.run(ipip(middle(datagram(inn, inside), mid, tos=between), tos=outside))
                if result is None:
                    assert (action, second.counted()) == (Action.DROP, {"dropped_ecn": 1})
                else:
                    assert (action, left) == (HERE, bare(datagram(inn, result))), (outside, between, inside)


# --- what is no hint, and what lies -------------------------------------------------------------------------

TO_ELSEWHERE = bytes(IP(src=NOBODY[4], dst="10.0.12.2") / TCP())


@pytest.mark.parametrize("out", [4, 6])
@pytest.mark.parametrize("mid", [4, 6])
@pytest.mark.parametrize("source", ["client", "balancer"])
def test_a_clients_own_tunnel_to_a_vip_stays_what_it_is(second: Agent, out: int, mid: int, source: str) -> None:
    sent = middle(TO_ELSEWHERE, mid, dst=VIP[mid], src=NOBODY[mid] if source == "client" else {4: LB4, 6: LB6}[mid])
    assert second.run(ipip(sent, out)) == (HERE, bare(sent))
    assert "second_kept" not in second.counted()


@pytest.mark.parametrize(
    "packet",
    [
        middle(segment(4), src=NOBODY[4]),  # no balancer says so
        middle(segment(4), 6, src=NOBODY[6]),
        middle(segment(4), 6, src=f"::ffff:{LB4}"),
        middle(segment(4), proto=47),
        middle(segment(4), proto=6),
        middle(bytes(IP(src=NOBODY[4], dst="10.0.12.2") / TCP())),  # for no VIP
        middle(middle(segment(4))),  # a hint in a hint
    ],
)
def test_what_is_for_no_vip_ends_here(second: Agent, packet: bytes) -> None:
    assert second.run(ipip(packet))[0] is Action.DROP
    assert second.counted() == {"dropped_vip": 1}


PACKET = segment(4)
LIES: dict[str, bytes] = {
    "options": middle(PACKET, options=[IPOption(b"\x01")] * 4),
    "options that look like a packet": middle(PACKET, ihl=6),
    "a first fragment": middle(PACKET, flags="MF"),
    "a later fragment": middle(PACKET, frag=3),
    "IPv4 longer than the outer packet": middle(PACKET, len=20 + len(PACKET) + 1),
    "IPv6 longer than the outer packet": middle(PACKET, 6, plen=len(PACKET) + 1),
    "IPv4 shorter than its packet": middle(PACKET, len=20 + len(PACKET) - 1),
    "IPv6 shorter than its packet": middle(PACKET, 6, plen=len(PACKET) - 1),
    "IPv4 with nothing in it": middle(PACKET, len=20),
    "IPv6 with nothing in it": middle(PACKET, 6, plen=0),
    "IPv4 shorter than its header": middle(PACKET, len=19),
    "IPv4 announced as IPv6": middle(PACKET, proto=41),
    "IPv6 announced as IPv4": middle(segment(6), proto=4),
    "a second IPv4 header of 4 words": middle(PACKET, ihl=4),
    "an inner packet longer than it": middle(bytes(IP(src=NOBODY[4], dst=VIP4, len=1000) / TCP())),
    "an inner IPv4-mapped destination": middle(datagram(6, dst=f"::ffff:{VIP4}")),
}


@pytest.mark.parametrize("packet", LIES.values(), ids=LIES)
@pytest.mark.parametrize("padding", [0, 30])
@pytest.mark.parametrize("out", [4, 6])
def test_a_middle_header_that_lies_is_dropped(second: Agent, packet: bytes, padding: int, out: int) -> None:
    assert second.run(ipip(packet, out) + bytes(padding))[0] is Action.DROP
    assert second.counted() == {"dropped_malformed": 1}


@EVERY_FORM
def test_a_frame_that_ends_anywhere_is_never_handed_on(
    second: Agent, wrap: str, out: int, mid: int, inn: int, tags: int
) -> None:
    frame = nested(segment(inn), out, mid, wrap, tags)
    headers = len(frame) - len(middle(segment(inn), mid))
    for size in range(14, len(frame)):
        action, left = second.run(frame[:size])
        assert (action, left) == (Action.PASS if size < headers else Action.DROP, frame[:size])
    assert second.counted() == {"passed_truncated": headers - 14, "dropped_malformed": len(frame) - headers}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("family", [4, 6])
def test_without_the_option_nothing_is_a_hint(plain: Agent, wrap: str, family: int) -> None:
    frame = nested(segment(4), family, family, wrap)
    assert plain.run(frame) == (Action.DROP, frame)
    assert plain.counted() == {"dropped_vip": 1}


def test_what_is_no_hint_is_treated_as_without_the_option(second: Agent, plain: Agent) -> None:
    packets = [segment(4), segment(6), datagram(4), datagram(6), datagram(dst="10.0.12.2"), datagram(len=1000)]
    frames = [
        WRAPS[wrap](packet, out, tags) for wrap in WRAPS for packet in packets for out in (4, 6) for tags in (0, 2)
    ]
    frames += [bytes(frame) for frame in (Ether() / outer() / UDP(), Ether() / outer(src=NOBODY[4]) / Raw(packets[0]))]
    for frame in frames:
        told = []
        for one in (second, plain):
            one.begin()
            told.append((one.run(frame), one.counted()))
        assert told[0] == told[1]


# --- whatever comes -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def credulous(second_place: loader.Place) -> Agent:
    """An agent that takes every outer header off, one at a time."""
    return Agent(second_place, decap.Settings())


def header_sum(packet: bytes) -> int:
    """RFC 1071: of an IPv4 header, 0 when its checksum is right."""
    return sum(int.from_bytes(packet[at : at + 2], "big") for at in range(0, 20, 2)) % 0xFFFF


def check_handed_on(once: bytes, left: bytes, at: int) -> None:
    """`once`: the frame without its outer header, whose IP header lies at `at`."""
    packet, sent = once[at:], left[at:]
    ttl, source, destination = (8, 12, 16) if packet[0] >> 4 == 4 else (7, 8, 24)
    assert (left[:6], left[6:12], left[12:at]) == (once[6:12], once[:6], once[12:at])
    assert sent[ttl] == packet[ttl] - 1 > 0
    if packet[0] >> 4 == 4:
        assert packet[0] == 0x45
        assert header_sum(sent) == header_sum(packet)
        sent = sent[:10] + packet[10:12] + sent[12:]
    assert sent[:ttl] + packet[ttl : ttl + 1] + sent[ttl + 1 :] == packet
    assert any(ip_address(packet[source:destination]) in network for network in SOURCES)
    assert not any(ip_address(packet[destination : 2 * destination - source]) in network for network in VIPS)


@given(
    which=st.sampled_from(FORMS),
    transport=st.sampled_from([segment, datagram]),
    changes=st.lists(st.tuples(st.integers(0, 170), st.integers(0, 255)), max_size=3),
    size=st.none() | st.integers(14, 190),
)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_is_taken_off_twice_or_handed_on_or_ends_here(
    second: Agent, plain: Agent, credulous: Agent, which: Any, transport: Any, changes: Any, size: int | None
) -> None:
    wrap, out, mid, inn, tags = which
    frame = bytearray(nested(transport(inn), out, mid, wrap, tags))
    for at, value in changes:
        if at < len(frame):
            frame[at] = value
    sent = bytes(frame[:size])
    second.begin()
    action, left = second.run(sent)
    counted = second.counted()
    _, once = credulous.run(sent)
    if "handed_on" in counted:
        assert (action, counted) == (ELSEWHERE, {"handed_on": 1})
        check_handed_on(once, left, 14 + 4 * tags)
        second.begin()
        assert plain.run(left)[0] is Action.PASS or plain.counted() == {
            "dropped_ecn": 1
        }  # the middle header's own mark
    elif "second_kept" in counted:
        assert counted == {"packets": 1, "bytes": len(left), wrap: 1, "second_kept": 1}
        assert credulous.run(once) == (action, left) == (HERE, left)
    elif action is Action.PASS:
        second.begin()
        assert plain.run(sent) == (action, left)
        assert plain.counted() == counted
    else:
        assert action is Action.DROP
        assert list(counted.values()) == [1]
