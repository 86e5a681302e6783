"""Real TCP by every way to a backend, in one balancer with two NICs that can do everything at once.

client ── router ── "lan" ─┬─ lb eth0 ⟲  8001-8004: b1 by IP in IP and GUE in both families;  8006: its own stack
             │             └─ n1         8005: by L2 DSR
             ├── lb2 ─────── lb eth1     8007, 8008: b2, to which the lb's routes leave by eth1
             ├── b1
             └── b2
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.traffic import (
    ask,
    backend,
    ip,
    next_from_lb,
    packets,
    service,
    start,
    states,
    tap_of,
    tx_errors,
    unique,
    verdicts,
)
from tools.lab import web
from tools.lab.net import VIP4, VIP6, Lab, address
from tools.lab.stand import Stand, wait_for
from tools.lab.tags import tagged

VIPS = pytest.mark.parametrize("vip", [VIP4, VIP6])
SIZE = 4_000_000  # bytes of a transfer
WAYS = {  # service -> port, who answers
    "ipip4": (8001, "b1"),
    "ipip6": (8002, "b1"),
    "gue4": (8003, "b1"),
    "gue6": (8004, "b1"),
    "l2": (8005, "n1"),
    "local": (8006, "lb"),
    "redirected4": (8007, "b2"),
    "redirected6": (8008, "b2"),
}


def config() -> str:
    """Every way, on both VIPs, a port for each."""

    def way(name: str, *backends: dict[str, str], **keys: str) -> str:
        return service(name, WAYS[name][0], *backends, **keys)

    return (
        '[balancer]\ninterface = ["eth0", "eth1"]\nvlan = true\n'
        + way("ipip4", backend("b1"))
        + way("ipip6", backend("b1", 6))
        + way("gue4", backend("b1"), forward="gue")
        + way("gue6", backend("b1", 6), forward="gue")
        + way("l2", backend("n1"), forward="l2")
        + way("local", forward="local")
        + way("redirected4", backend("b2"))
        + way("redirected6", backend("b2", 6))
    )


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The daemon with every way to a backend, and a server behind each."""
    folder = tmp_path_factory.mktemp("modes")
    with Lab(unique("modes"), backends=2) as lab:
        neighbour = lab.add_neighbour()
        lab.add_second_wire()
        ip(lab, "lb", f"route add 10.0.12.0/24 via {address('lb2', 4, 1)}")
        ip(lab, "lb", f"-6 route add fd00:12::/64 via {address('lb2', 6, 1)}")
        ip(lab, "lb", f"addr add {VIP4}/32 dev lo")
        ip(lab, "lb", f"addr add {VIP6}/128 dev lo")
        stand = Stand(lab, folder / "daemon.log")
        stand.start_backends(lab.backends)
        for host in (*lab.backends, neighbour, "lb"):
            web.start(lab, [host], [port for port, name in WAYS.values() if name == host])
        start(stand, folder / "xdplb.toml", config())
        yield stand


@VIPS
@pytest.mark.parametrize("way", WAYS)
def test_tcp_works_in_both_directions_by_every_way(everything: Stand, way: str, vip: str) -> None:
    port, server = WAYS[way]
    errors, before = tx_errors(everything), packets(everything)

    assert ask(everything.lab, vip, port) == (server, len(server) + 1)
    assert ask(everything.lab, vip, port, down=SIZE) == (server, SIZE)
    assert ask(everything.lab, vip, port, up=SIZE)[0] == server

    gained = {name: count - before[name] for name, count in packets(everything).items() if count > before[name]}
    assert list(gained) == [way]
    assert gained[way] > SIZE / 1500
    assert tx_errors(everything) - errors < gained[way] / 10  # a veth's queue of 256 runs over at times


def test_frames_leave_by_the_interface_of_their_backends_route(everything: Stand) -> None:
    for way, ends in (("ipip4", "lb"), ("redirected4", "lb2"), ("redirected6", "lb2")):
        port, server = WAYS[way]
        before = {end: everything.lab.counters("router", end).rx_bytes for end in ("lb", "lb2")}

        assert ask(everything.lab, VIP4, port, up=SIZE)[0] == server

        came = {end: everything.lab.counters("router", end).rx_bytes - before[end] for end in before}
        assert {end for end, size in came.items() if size > SIZE} == {ends}
    for nic in everything.client.status()["interfaces"]:
        assert nic["mode"] == "native"
        assert nic["program_id"]


def test_l2_keeps_the_frame_but_for_its_addresses(everything: Stand) -> None:
    """Only L2 brings packets to a host that has no agent, and the answers do not pass the balancer."""
    came = everything.lab.counters("n1").rx_packets
    assert ask(everything.lab, VIP4, WAYS["l2"][0], up=SIZE)[0] == "n1"
    assert everything.lab.counters("n1").rx_packets - came > SIZE / 1500


# --- VLANs --------------------------------------------------------------------------------------------------


@VIPS
@pytest.mark.parametrize("tags", [(100,), (100, 200)])
@pytest.mark.parametrize("way", ["ipip4", "ipip6", "gue4", "gue6", "l2"])
def test_tcp_works_over_tagged_frames(everything: Stand, way: str, tags: tuple[int, ...], vip: str) -> None:
    with tags_on_the_wire(everything.lab, tags):
        port, server = WAYS[way]
        assert ask(everything.lab, vip, port) == (server, 3)
        assert ask(everything.lab, vip, port, up=SIZE)[0] == server


@contextlib.contextmanager
def tags_on_the_wire(lab: Lab, tags: tuple[int, ...]) -> Iterator[None]:
    with lab.inside("router"), tagged("lb", tags):
        yield


@pytest.mark.parametrize("tags", [(100,), (100, 200)])
def test_frames_leave_with_the_tags_that_they_came_with(everything: Stand, tags: tuple[int, ...]) -> None:
    tap = tap_of(everything.lab, "lb")
    with tap, tags_on_the_wire(everything.lab, tags):
        ask(everything.lab, VIP4, WAYS["ipip4"][0])
        seen = wait_for(lambda: next_from_lb(tap), "a frame from the balancer")
    assert seen == [*tags, 0x0800, 4]  # the tags, IPv4, IP in IP


# --- the end of a NIC ---------------------------------------------------------------------------------------


def test_the_other_interface_goes_on_when_one_vanishes(tmp_path: Path) -> None:
    text = (
        '[balancer]\ninterface = ["eth0", "eth1"]\n'
        + service("near", 8005, backend("n1"), forward="l2")
        + service("far", 8007, backend("b1"), check={"kind": "none"})
    )
    with Lab(unique("vanish"), backends=1) as lab:
        web.start(lab, [lab.add_neighbour()], [8005])
        lab.add_second_wire()
        ip(lab, "lb", f"route add 10.0.11.0/24 via {address('lb2', 4, 1)}")
        ip(lab, "lb", "route add unreachable 10.0.11.0/24 metric 9999")  # else the default route leads there, too
        stand = Stand(lab, tmp_path / "daemon.log")
        start(stand, tmp_path / "xdplb.toml", text)

        ip(lab, "lb", "link del eth1")

        wait_for(lambda: states(stand)["far/b1"] == "unreachable", "b1 unreachable")
        wait_for(lambda: "error" in stand.client.status()["interfaces"][1], "the interface's end")
        with pytest.raises(TimeoutError), lab.inside("client"):
            socket.create_connection((VIP4, 8007), timeout=0.3)
        assert verdicts(stand)["dropped_no_backend"] > 0
        assert ask(lab, VIP4, 8005, up=SIZE)[0] == "n1"

        done = stand.run("backend", "add", "far", address("b1", 6), "--backend-name", "b1-6")  # wants another program

        assert "b1-6 added, now up" in done.stdout, done.stdout + done.stderr
        assert "ipip6" in stand.client.status()["interface"]["compiled"]
        assert ask(lab, VIP4, 8005) == ("n1", 3)
        assert stand.daemon is not None
        assert stand.daemon.poll() is None
