"""Groups of backends, and what only plain facts can show of ways. The others: test_look."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from tests.rig.boxes import B1, B2, NIC, OWN, ROUTER, box, only
from xdplb.doctor.facts import Link, Neighbour, Way
from xdplb.doctor.ways import judge

MAC = bytes.fromhex("020000000002")
DIRECT = Way(oif=2, source=OWN)


def test_a_healthy_box_has_good_ways() -> None:
    assert list(judge(box())) == []


def test_backends_behind_one_silent_router_are_told_together() -> None:
    finding = only(judge(box(neighbours={(2, ROUTER): Neighbour(0x20)})))
    assert finding.check == "neighbour-silent"
    assert finding.seen == "neighbour 10.0.2.1 on eth0 does not answer: next hop of 2 backends (web/b1, web/b2)"


def test_silent_backends_on_the_same_link_are_told_together() -> None:
    ways = {B1: DIRECT, B2: DIRECT}
    finding = only(judge(box(ways=ways, neighbours={(2, B1): Neighbour(0x01), (2, B2): Neighbour(0x20)})))
    assert finding.seen.startswith("neighbour 10.0.11.2, 10.0.12.2 on eth0 does not answer")


def test_who_was_not_asked_is_not_said_to_be_silent() -> None:
    assert only(judge(box(neighbours={}))).check == "neighbour-unknown"
    assert only(judge(box(neighbours={}, claims={(2, ROUTER): frozenset()}))).check == "neighbour-silent"
    assert list(judge(box(neighbours={}, claims={(2, ROUTER): frozenset({MAC})}))) == []
    # it is known, and minds questions of ours
    assert list(judge(box(claims={(2, ROUTER): frozenset()}))) == []


def test_an_answer_over_a_bond_or_a_vlan_is_no_other_way() -> None:
    links = {2: Link("eth0", master=9), 9: Link("bond0", kind="bond", rp_filter=1)}
    ways = {B1: replace(DIRECT, oif=2, gateway=ROUTER), B2: replace(DIRECT, oif=2, gateway=ROUTER)}
    assert list(judge(box(links=links, ways=ways, addresses={OWN: (9, 24)}))) == []
    apart = {2: Link("eth0"), 9: Link("eth9", rp_filter=1)}
    assert only(judge(box(links=apart, ways=ways, addresses={OWN: (9, 24)}))).check == "answers-dropped"


def test_rp_filter_knows_only_ipv4() -> None:
    b3, router, own = (ip_address(a) for a in ("fd00:13::2", "fd00:2::1", "fd00:2::2"))
    links = {2: Link("eth0"), 9: Link("eth9", rp_filter=1)}
    facts: dict[str, Any] = {
        "neighbours": {(2, router): Neighbour(2, MAC)},
        "addresses": {own: (9, 64)},
        "links": links,
    }
    found = judge(box(ways={b3: Way(oif=2, gateway=router, source=own)}, **facts))
    assert only(found).check == "way-back"


def test_the_widest_header_decides_how_long_frames_are() -> None:
    finding = only(judge(box(service='forward = "gue"\nsecond_chance = true', interfaces=(replace(NIC, mtu=1550),))))
    assert "need 1552" in finding.seen  # 20 IP, 8 UDP, 4 GUE, 20 for the second one
    facts: dict[str, Any] = {"ways": {B1: DIRECT, B2: DIRECT}, "interfaces": (replace(NIC, mtu=1500),)}
    facts["neighbours"] = {(2, B1): Neighbour(2, MAC), (2, B2): Neighbour(2, MAC)}
    assert list(judge(box(service='forward = "l2"', **facts))) == []


def test_where_everybody_else_goes_is_where_a_lost_one_is_sent() -> None:
    finding = only(judge(box(ways={B1: Way(oif=2, gateway=ROUTER, source=OWN), B2: Way(error=101)})))
    assert finding.fixes[1] == "ip route replace 10.0.12.2/32 via 10.0.2.1 dev eth0"


def test_a_router_of_the_other_family_is_no_way() -> None:
    lost = ip_address("fd00:13::2")
    finding = only(judge(box(ways={B1: Way(oif=2, gateway=ROUTER, source=OWN), lost: Way(error=101)})))
    assert finding.fixes[1] == "ip route replace fd00:13::2/128 via GATEWAY dev eth0"


def test_a_route_may_have_an_mtu_that_is_large_enough() -> None:
    for mtu, found in ((1520, []), (1519, ["mtu-route"])):
        way = Way(oif=2, gateway=ROUTER, source=OWN, mtu=mtu)
        assert [finding.check for finding in judge(box(ways={B1: way}))] == found
