"""The first line of an explanation names the cause: for every reason that there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, TCP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tests.rig.explaining import explained, outcome, world
from tests.rig.packets import (
    BACKENDS4,
    CLIENT4,
    LB_MAC,
    ROUTER_MAC,
    VIP4,
    config,
    frame,
    service,
    tcp,
)
from tests.rig.xdp import SPEC
from xdplb.explain.world import World
from xdplb.model import Backend, Limits, Rate
from xdplb.reasons import REASONS
from xdplb.tables import BackendRow

ETHER = Ether(src=ROUTER_MAC, dst=LB_MAC)
ONE = config(service(backends=BACKENDS4[:1]))
LIMITS = Limits(Rate(10, 40), Rate(1, 5), Rate(100, 50))
LIMITED = replace(SPEC, limits=True, prefixes=True)


def limited() -> World:
    listed: Callable[[Any], tuple[str, str]] = lambda address: ("198.51.100.0/24", "block")  # noqa: E731
    return world(config(service(limits=LIMITS)), spec=LIMITED, listed=listed)


def with_rows(**fields: Any) -> World:
    """One backend, whose row has these."""
    there = world(ONE, spec=replace(SPEC, redirect=True))
    rows: dict[int, BackendRow] = {n: replace(row, **fields) for n, row in there.tables.backends.items()}
    return replace(there, tables=replace(there.tables, backends=rows))


def idle() -> World:
    weightless = [Backend("b1", ip_address("10.0.11.2"), 0), Backend("b2", ip_address("10.0.12.2"))]
    return world(config(service(backends=weightless)), down={"b2"})


CAUSES: dict[str, tuple[World, Any, str]] = {
    "passed_not_ip": (world(), ETHER / ARP(psrc="10.0.0.1"), "it is ARP, not IP"),
    "passed_vlan": (
        world(),
        ETHER / Dot1Q() / bytes(tcp())[14:],
        "it has a VLAN tag, and none is configured",
    ),
    "passed_truncated": (world(), bytes(tcp())[:50], "the frame ends inside its TCP header"),
    "passed_protocol": (world(), frame(b"", VIP4, proto=47), "it is GRE, and no service is asked by that"),
    "passed_icmp": (world(), frame(ICMP(), "10.1.1.1"), "it is ICMP for 10.1.1.1, which is no VIP's address"),
    "passed_fragment": (
        world(),
        frame(bytes(8), "10.1.1.1", proto=17, frag=3),
        "it is a later fragment for 10.1.1.1, which is no VIP",
    ),
    "passed_no_service": (world(), tcp(dport=81), f"no VIP {VIP4}:81/tcp; this address has 80/tcp"),
    "answered_echo": (
        world(),
        frame(ICMP(), VIP4),
        f"{VIP4} is a VIP's address, and pings to it are answered by the balancer",
    ),
    "answered_too_big": (
        with_rows(mtu=1480),
        frame(TCP(dport=80) / bytes(1460), VIP4),
        "it has 1500 bytes, and the way to four11 (10.0.11.2) takes 1480",
    ),
    "answered_ttl": (world(), tcp(ttl=1), "its time to live is 1, so it may not go on; its sender was told"),
    "dropped_unanswered": (
        world(),
        tcp(ttl=1),
        "it is at the end of its time to live, and this CPU has sent as many answers as it may "
        "(1,000/s, answers_per_s)",
    ),
    "dropped_malformed": (
        world(),
        bytes(tcp()).replace(b"\0\x28", b"\0\x29"),
        "it says that it has 41 bytes, and the frame has 40 for it",
    ),
    "dropped_fragment": (
        world(),
        frame(bytes(8), VIP4, proto=17, frag=3),
        "it is a later fragment, and of its packet the first one, which has the ports, has not been seen",
    ),
    "dropped_blocked": (limited(), tcp(), f"{CLIENT4} is in 198.51.100.0/24, which is on the block list"),
    "dropped_packet_rate": (
        limited(),
        tcp(),
        f"web has a limit, and it is used up: packets of {CLIENT4}: 10/s and 40 at once",
    ),
    "dropped_connection_rate": (
        limited(),
        tcp(),
        f"web has a limit, and it is used up: new connections of {CLIENT4}: 1/s and 5 at once",
    ),
    "dropped_service_rate": (
        limited(),
        tcp(),
        "web has a limit, and it is used up: new connections of all clients: 100/s and 50 at once",
    ),
    "dropped_no_backend": (
        idle(),
        tcp(),
        "service web has no backend that is up (b1 idle: its weight is 0; b2 down)",
    ),
    "dropped_no_headroom": (world(), tcp(), "no room for IP in IPv4 in front of the frame"),
    "dropped_no_egress": (
        with_rows(egress=7),
        tcp(),
        "four11 (10.0.11.2) is reached by eth1, which is not there or takes no redirected frames",
    ),
}  # fmt: skip


def test_there_is_a_cause_for_every_reason() -> None:
    assert list(CAUSES) == list(REASONS)


@pytest.mark.parametrize("reason", CAUSES)
def test_the_first_line_names_the_cause(reason: str) -> None:
    there, sent, cause = CAUSES[reason]

    told = explained(there, sent, outcome(reason, bytes(sent)))

    assert told["summary"] == f"{reason}: {cause}"
    assert told["fix"] == REASONS[reason].fix
    if reason != "dropped_blocked" or there.names.listed:
        assert told["disagreements"] == []


def test_who_may_not_be_told_is_said() -> None:
    told = explained(world(), tcp(ttl=1, src="224.0.0.1"), outcome("dropped_unanswered"))

    assert told["cause"].startswith("it is at the end of its time to live, and its sender may not be told: ")


def test_a_remembered_flow_is_a_cause() -> None:
    there = world(before={"four11"})
    port = next(
        p for p in range(4000, 5000) if explained(there, tcp(p, flags="A"), outcome(None))["slot"]["why"] != "ring"
    )

    told = explained(there, tcp(port, flags="A"), outcome(None, bytes(tcp())))

    assert told["cause"].endswith("; the slot changed its backend a moment ago, and older flows stay where they were")


def test_without_names_the_slot_is_the_cause() -> None:
    there = world(down={"four11", "four12", "four13"})
    there = replace(there, names=type(there.names)())

    told = explained(there, tcp(), outcome("dropped_no_backend"))

    assert told["cause"].startswith("the slot of service ")
    assert told["cause"].endswith(" that it falls into names no backend")
