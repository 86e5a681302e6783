"""The program on the way out of the lab's balancer: where it is, who else is there, that nothing of it stays behind."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from tests.rig.traffic import holding, ip
from tools.lab.net import VIP4, VIP6, Lab, address
from xdplb import tunnel
from xdplb.contract import BPF_DIR
from xdplb.dataplane import loader, syscall
from xdplb.dataplane.probes import Settings
from xdplb.tables import BackendRow
from xdplb.tunnel import Tunnel

VIPS = [ip_address(VIP4), ip_address(VIP6)]
ROW = BackendRow(bytes(14), ip_address("10.0.2.2"), ip_address("10.0.11.2"), 7, 1)
UNSPEC = bytes.fromhex("b4000000ffffffff 9500000000000000")  # r0 = TC_ACT_UNSPEC; exit


@pytest.fixture
def place(lab: Lab) -> Iterator[loader.Place]:
    """A balancer's pins and files in the lab, which are gone afterwards."""
    place = loader.Place(f"test-tunnel-{os.getpid()}")
    place.make()
    yield place
    with lab.inside("lb"):
        asyncio.run(tunnel.detach(place))
    place.remove()


def play(lab: Lab, place: loader.Place, scene: Callable[[Tunnel], Awaitable[None]] | None = None) -> Tunnel:
    """Open a tunnel for both VIPs on the balancer, play the scene, close it; what is attached stays."""

    async def run() -> Tunnel:
        opened = Tunnel(place, Settings())
        await opened.open(VIPS)
        if scene:
            await scene(opened)
        opened.close()
        return opened

    with lab.inside("lb"):
        return asyncio.run(run())


def tc(lab: Lab, *argv: str) -> str:
    return lab.run("lb", ["tc", *argv]).stdout


def filters(lab: Lab, ifname: str = "eth0") -> list[str]:
    """Return who has a filter on the way out, by name."""
    lines = tc(lab, "filter", "show", "dev", ifname, "egress").splitlines()
    return [line.split("handle ")[1].split()[1] for line in lines if "handle" in line]


def test_it_is_attached_where_probes_leave_and_detach_leaves_nothing(lab: Lab, place: loader.Place) -> None:
    opened = play(lab, place)

    assert opened.warnings == []
    assert filters(lab) == [f"xdplb:{place.name}"]
    with lab.inside("lb"):
        assert asyncio.run(tunnel.detach(place)) == [socket.if_nametoindex("eth0")]
    assert filters(lab) == []
    assert "clsact" not in tc(lab, "qdisc", "show", "dev", "eth0")
    assert not place.tunnel.pins.exists()
    assert not place.tunnel.run.exists()


def test_the_next_daemon_takes_the_place_of_the_last_one_and_keeps_its_rows(lab: Lab, place: loader.Place) -> None:
    marks = []

    async def put(opened: Tunnel) -> None:
        opened.put({1: ROW})
        marks.append(opened.mark(1))

    async def find(opened: Tunnel) -> None:
        marks.append(opened.mark(1))
        assert opened.put({1: ROW}) == 0

    play(lab, place, put)
    play(lab, place, find)

    assert marks[0] == marks[1] is not None
    assert filters(lab) == [f"xdplb:{place.name}"]


def test_others_filters_and_their_place_stay(lab: Lab, place: loader.Place) -> None:
    fd = syscall.load(UNSPEC, "other", "tc")
    pin = place.pins / "other"
    syscall.pin(fd, pin)
    os.close(fd)
    tc(lab, "qdisc", "add", "dev", "eth0", "clsact")
    try:
        tc(lab, "filter", "add", "dev", "eth0", "egress", "pref", "7", "bpf", "da", "object-pinned", str(pin))
        before = filters(lab)
        assert len(before) == 1

        play(lab, place)
        assert sorted(filters(lab)) == sorted([*before, f"xdplb:{place.name}"])
        with lab.inside("lb"):
            asyncio.run(tunnel.detach(place))

        assert filters(lab) == before
    finally:
        tc(lab, "qdisc", "del", "dev", "eth0", "clsact")


def test_a_place_for_filters_that_was_there_before_stays(lab: Lab, place: loader.Place) -> None:
    tc(lab, "qdisc", "add", "dev", "eth0", "clsact")
    try:
        play(lab, place)
        with lab.inside("lb"):
            asyncio.run(tunnel.detach(place))
        assert "clsact" in tc(lab, "qdisc", "show", "dev", "eth0")
    finally:
        tc(lab, "qdisc", "del", "dev", "eth0", "clsact")


def test_a_place_that_is_anothers_is_not_taken(lab: Lab, place: loader.Place) -> None:
    handle = tunnel.filter_of(place).handle
    fd = syscall.load(UNSPEC, "other", "tc")
    syscall.pin(fd, place.pins / "other")
    os.close(fd)
    tc(lab, "qdisc", "add", "dev", "eth0", "clsact")
    try:
        where = ("dev", "eth0", "egress", "pref", "7", "handle", f"{handle:#x}", "bpf", "da")
        tc(lab, "filter", "add", *where, "object-pinned", str(place.pins / "other"))

        (said,) = play(lab, place).warnings

        assert f"tc filter del dev eth0 egress pref 7 handle {handle:#x} bpf" in said
        assert len(filters(lab)) == 1
    finally:
        tc(lab, "qdisc", "del", "dev", "eth0", "clsact")


def test_an_interface_that_takes_no_filters_is_told(lab: Lab, place: loader.Place) -> None:
    tc(lab, "qdisc", "add", "dev", "eth0", "ingress")
    try:
        opened = play(lab, place)
        (said,) = opened.warnings
        assert opened.trapped == set(VIPS)  # there, probes would leave as they are
        assert "`tc qdisc del dev eth0 ingress; tc qdisc add dev eth0 clsact`" in said
        assert filters(lab) == []
    finally:
        tc(lab, "qdisc", "del", "dev", "eth0", "ingress")


def test_it_follows_the_route_when_asked_and_comes_back_when_taken_off(lab: Lab, place: loader.Place) -> None:
    async def scene(opened: Tunnel) -> None:
        ip(lab, "lb", "link add t0 type veth peer name t1")
        try:
            for command in ("link set t0 up", "link set t1 up", "addr add 192.0.2.1/24 dev t0"):
                ip(lab, "lb", command)
            ip(lab, "lb", f"route add {VIP4}/32 nexthop via 192.0.2.2 nexthop via {address('lb', 4, 1)}")
            await opened.follow(VIPS[:1])
            assert (filters(lab), filters(lab, "t0")) == ([f"xdplb:{place.name}"],) * 2

            ip(lab, "lb", f"route replace {VIP4}/32 via 192.0.2.2")
            await opened.follow(VIPS[:1])
            assert (filters(lab), filters(lab, "t0")) == ([], [f"xdplb:{place.name}"])
            assert "clsact" not in tc(lab, "qdisc", "show", "dev", "eth0")

            tc(lab, "qdisc", "del", "dev", "t0", "clsact")
            await opened.follow(VIPS[:1])
            assert filters(lab, "t0") == [f"xdplb:{place.name}"]
        finally:
            ip(lab, "lb", "link del t0")
        await opened.follow(VIPS)
        assert filters(lab) == [f"xdplb:{place.name}"]

    play(lab, place, scene)


def test_rows_that_leave_where_they_came_in_leave_below_a_vlans_interface(lab: Lab, place: loader.Place) -> None:
    """Only the row's own tag may be on the frame. This kernel may have no VLANs: the interface below is pretended."""

    async def scene(opened: Tunnel) -> None:
        opened.put({1: replace(ROW, egress=0, vlan=7), 2: ROW})
        opened._lead_by(33)
        known: dict[int, Any] = opened.probes._rows
        assert (known[1].egress, known[2].egress) == (33, ROW.egress)
        opened._lead_by(0)
        assert known[1].egress == 0

    play(lab, place, scene)


@pytest.mark.parametrize(
    ("command", "undo", "words"),
    [
        (
            f"addr add {VIP4}/32 dev lo",
            f"addr del {VIP4}/32 dev lo",
            "XDP needs none: `ip addr del 10.9.9.9/32 dev lo`",
        ),
        (f"route add local {VIP4}/32 dev lo", f"route del local {VIP4}/32 dev lo", "`ip route del local 10.9.9.9/32`"),
        (f"route add unreachable {VIP4}/32", f"route del unreachable {VIP4}/32", "cannot leave: no route (no route to"),
        (f"route add blackhole {VIP4}/32", f"route del blackhole {VIP4}/32", "cannot leave: no route (invalid"),
        (f"route add {VIP4}/32 dev lo", f"route del {VIP4}/32 dev lo", "leaves by lo, whose frames have no Ethernet"),
        (f"route add {VIP4}/32 dev eth0", f"route del {VIP4}/32 dev eth0", "`ip neigh replace 10.9.9.9 lladdr"),
    ],
)
def test_what_is_in_probes_way_is_told(lab: Lab, place: loader.Place, command: str, undo: str, words: str) -> None:
    with holding(lab, "lb", command, undo):
        (said,) = play(lab, place).warnings
        assert words in said
    assert play(lab, place).warnings == []


def test_every_counter_is_documented() -> None:
    struct = re.search(r"struct probed \{(.*?)\};", (BPF_DIR / "probe_maps.h").read_text(), re.S)
    assert struct
    counters = re.findall(r"__u64 (\w+);", struct[1])
    text = (BPF_DIR.parent / "docs/tunnel.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == counters
