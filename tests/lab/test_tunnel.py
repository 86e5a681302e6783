"""Probes through the tunnel on real interfaces: by every way, and what they find that a direct check calls healthy.

        ┌── lb eth0, from where probes leave (and eth1, to router's lb2)
router ─┼── b1, b2    agents, servers, the VIPs on lo
        └── n1        on the lb's own segment: L2 DSR
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import pytest
from pyroute2 import IPRoute

from tests.rig.traffic import backend, holding, next_from_lb, service, start, tap_of, unique
from tools.lab import web
from tools.lab.net import VIP4, VIP6, Lab, address
from tools.lab.stand import ROOT, XDPLB, Stand, wait_for
from xdplb.config import parse_config
from xdplb.dataplane import loader, syscall
from xdplb.desired import Overrides, desire
from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Talk
from xdplb.health.probe import Steps, Target, probe
from xdplb.health.sockets import connect, open_socket
from xdplb.model import Check
from xdplb.net import Network
from xdplb.tables import BackendRow
from xdplb.tunnel import Settings, Tunnel

VIPS = pytest.mark.parametrize("vip", [VIP4, VIP6])
FULL_BYTES = 1380  # of a request: a packet that no hole of 1450 bytes lets through with a header in front
HOLE_BYTES = 1450
CONFIG = '[balancer]\ninterface = ["eth0", "eth1"]\n' + "".join(
    [
        service("ipip4", 8001, backend("b1")),
        service("ipip6", 8002, backend("b1", 6)),
        service("gue4", 8003, backend("b1"), forward="gue"),
        service("gue6", 8004, backend("b1", 6), forward="gue"),
        service("l2", 8005, backend("n1"), forward="l2"),
        service("web", 80, backend("b1"), backend("b2")),
    ]
)
ANSWERS = {"ipip4": "b1", "ipip6": "b1", "gue4": "b1", "gue6": "b1", "l2": "n1"}  # in the order of their ports
_Found = TypeVar("_Found")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with Lab(unique("tunnel"), backends=2) as lab:
        neighbour = lab.add_neighbour()
        lab.add_second_wire()
        made = Stand(lab, tmp_path_factory.mktemp("tunnel") / "daemon.log")
        made.start_backends(lab.backends)
        web.start(lab, ["b1"], [8001, 8002, 8003, 8004])
        web.start(lab, [neighbour], [8005])
        yield made


@dataclass
class Way:
    """A tunnel that is open, and the rows of CONFIG's backends, which lie in it."""

    tunnel: Tunnel
    rows: dict[tuple[str, str], BackendRow]

    def target(self, vip: str, port: int, service: str = "web", name: str = "b2") -> Target:
        row = self.rows[service, name]
        mark = self.tunnel.mark(row.identity)
        assert mark
        return Target(ip_address(vip), port, mark, min(row.mtu, 1500))

    async def ask(self, check: Check, vip: str, port: int, service: str = "web", name: str = "b2") -> ProbeEnded:
        return await probe(check, self.target(vip, port, service, name))


def play(stand: Stand, scene: Callable[[Way], Awaitable[_Found]], place: loader.Place | None = None) -> _Found:
    """Open a tunnel on the balancer, whose rows are what CONFIG and the network say, and play the scene."""

    async def run() -> _Found:
        config = parse_config(CONFIG)
        async with Network(["eth0", "eth1"], None, None, lambda: None) as network:
            await network.find(b.address for s in config.services for b in s.backends)
            await network.wait_resolved(3)
            services = desire(config, Overrides(), {}, network.hops)
            rows = {(s.name, b.backend.name): b.row for s in services for b in s.backends if b.row}
            assert len(rows) == 7, network.hops
            opened = Tunnel(place or loader.Place(stand.name), Settings())
            await opened.open([ip_address(VIP4), ip_address(VIP6)])
            opened.put({row.identity: row for row in rows.values()})
            try:
                return await scene(Way(opened, rows))
            finally:
                opened.close()

    with stand.lab.inside("lb"):
        return asyncio.run(run())


def who(name: str, send: bytes = b"GET / HTTP/1.0\r\n\r\n") -> Check:
    """A check that this server answers."""
    return Check(timeout_s=2.0, ask=Talk(send, f"\r\n\r\n{name}\n"))


def full(name: str) -> Check:
    """The same with a request of FULL_BYTES."""
    head = b"GET / HTTP/1.0\r\nX-Long: "
    return replace(who(name, head + b"x" * (FULL_BYTES - len(head) - 4) + b"\r\n\r\n"), timeout_s=0.5)


QUICK = Check(timeout_s=0.5)


# --- good ---------------------------------------------------------------------------------------------------


def test_probes_reach_the_very_backend_by_every_way(stand: Stand) -> None:
    asked = [(name, port, vip) for port, name in enumerate(ANSWERS, 8001) for vip in (VIP4, VIP6)]

    async def scene(way: Way) -> list[ProbeEnded]:
        assert way.tunnel.warnings == []
        probes = [way.ask(who(ANSWERS[name]), vip, port, name, ANSWERS[name]) for name, port, vip in asked]
        probes += [way.ask(who(name), vip, 80, "web", name) for name in ("b1", "b2") for vip in (VIP4, VIP6)]
        return await asyncio.gather(*probes)

    before = {host: stand.decapped(host)["packets"] for host in ("b1", "b2")}
    ended = play(stand, scene)
    assert [one.cause for one in ended if not one.passed] == []
    assert all("answered in" in one.cause for one in ended)
    assert all(stand.decapped(host)["packets"] > count for host, count in before.items())


@VIPS
@pytest.mark.parametrize("name", ANSWERS)
def test_large_transfers_are_cut_into_packets_that_arrive(stand: Stand, name: str, vip: str) -> None:
    """The kernel hands us more than a packet at once, and leaves its checksum to others: both must come out right."""
    size, port = 1_000_000, 8001 + list(ANSWERS).index(name)

    async def scene(way: Way) -> tuple[bytes, int]:
        loop, before = asyncio.get_running_loop(), way.tunnel.counters()
        target = way.target(vip, port, name, ANSWERS[name])
        with open_socket(target, socket.SOCK_STREAM) as opened:
            async with asyncio.timeout(5):
                await connect(opened, target, Steps())
                await loop.sock_sendall(opened, b"PUT / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
                answer = b""
                while part := await loop.sock_recv(opened, 4096):
                    answer += part
        after = way.tunnel.counters()
        assert {key for key in after if after[key] > before[key]} == {"sent"}
        return answer, after["sent"] - before["sent"]

    answer, sent = play(stand, scene)
    assert answer.endswith(f"\r\n\r\n{ANSWERS[name]}\n".encode())
    assert sent < size / 1500 / 2  # several packets at once


def test_probes_leave_by_their_backends_interface_and_are_not_seen_twice(stand: Stand) -> None:
    """The program is on both interfaces then: what it has sent on must not be a probe any more."""
    lab = stand.lab
    both = f"nexthop via {address('lb', 4, 1)} nexthop via {address('lb2', 4, 1)}"

    async def scene(way: Way) -> list[ProbeEnded]:
        indexes = {socket.if_nametoindex(name) for name in ("eth0", "eth1")}
        assert way.tunnel._on == indexes
        assert way.rows["web", "b2"].egress == socket.if_nametoindex("eth1")
        return [await way.ask(who("b2"), VIP4, 80) for _ in range(8)]

    with (
        holding(lab, "lb", f"route add 10.0.12.0/24 via {address('lb2', 4, 1)}", "route del 10.0.12.0/24"),
        holding(lab, "lb", f"route add {VIP4}/32 {both}", f"route del {VIP4}/32"),
    ):
        before = lab.counters("router", "lb2").rx_packets
        assert [one.cause for one in play(stand, scene) if not one.passed] == []
        assert lab.counters("router", "lb2").rx_packets - before >= 8 * 4


def test_a_frame_has_the_tag_of_its_way_out(stand: Stand) -> None:
    async def scene(way: Way) -> list[int]:
        row = way.rows["web", "b2"]
        way.tunnel.put({row.identity: replace(row, vlan=100)})
        with tap_of(stand.lab, "lb") as tap, open_socket(way.target(VIP4, 80), socket.SOCK_DGRAM) as opened:
            opened.sendto(b"tagged", (VIP4, 80))
            return await asyncio.to_thread(wait_for, lambda: next_from_lb(tap), "a frame from the balancer")

    assert play(stand, scene) == [100, 0x0800, 4]  # the tag, IPv4, IP in IP


def test_what_is_too_long_for_the_way_is_dropped_and_counted(stand: Stand) -> None:
    async def scene(way: Way) -> tuple[ProbeEnded, dict[str, int]]:
        row, before = way.rows["web", "b2"], way.tunnel.counters()
        way.tunnel.put({row.identity: replace(row, mtu=1400)})
        target = replace(way.target(VIP4, 80), packet_bytes=1500)
        ended = await probe(replace(full("b2"), ask=Talk(b"x" * 1448, "never")), target)
        after = way.tunnel.counters()
        return ended, {key: after[key] - before[key] for key in after}

    ended, counted = play(stand, scene)
    assert not ended.passed
    assert counted["dropped_too_long"] > 0


# --- what a direct check does not see -----------------------------------------------------------------------


def both(stand: Stand, tunnelled: Check, direct: Check, vip: str = VIP4, port: int = 80) -> ProbeEnded:
    """Have both checks ask b2; the direct one must pass. Returns how the other ended."""
    host = ip_address(address("b2", 6 if ":" in vip else 4))

    async def scene(way: Way) -> tuple[ProbeEnded, ProbeEnded]:
        assert way.tunnel.warnings == []
        return await asyncio.gather(way.ask(tunnelled, vip, port), probe(direct, Target(host, port, packet_bytes=1500)))

    through, past = play(stand, scene)
    assert past.passed, past.cause
    return through


def not_there(vip: str = VIP4, port: int = 80) -> str:
    host = f"[{vip}]" if ":" in vip else vip
    return f"tcp {host}:{port}: a connection did not come within 0.5 s"


@VIPS
def test_decap_missing(stand: Stand, vip: str) -> None:
    agent = f"{stand.name}-b2"
    assert stand.lab.run("b2", [*XDPLB, "decap", "detach", "--name", agent], cwd=ROOT).returncode == 0
    try:
        assert both(stand, QUICK, QUICK, vip) == ProbeEnded(False, not_there(vip))
    finally:
        run = [*XDPLB, "decap", "run", "--name", agent, "--interface", "eth0"]
        stand.lab.spawn("b2", run, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: stand._agent_works("b2"), "the agent")
    assert both(stand, QUICK, QUICK, vip).passed


@VIPS
def test_vip_missing_on_the_backend(stand: Stand, vip: str) -> None:
    prefix = f"{vip}/{128 if ':' in vip else 32}"
    with holding(stand.lab, "b2", f"addr del {prefix} dev lo", f"addr add {prefix} dev lo"):
        assert both(stand, QUICK, QUICK, vip) == ProbeEnded(False, not_there(vip))
    assert both(stand, QUICK, QUICK, vip).passed


@VIPS
def test_service_bound_to_another_address(stand: Stand, vip: str) -> None:
    own = address("b2", 6 if ":" in vip else 4)
    argv = [sys.executable, "-m", "tools.lab.web", "b2", "--address", own, "--port", "8081"]
    with stand.lab.spawn("b2", argv, cwd=ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        ended = both(stand, QUICK, QUICK, vip, 8081)
        server.kill()
    assert ended == ProbeEnded(False, f"tcp {Target(ip_address(vip), 8081)}: refused")


def test_mtu_hole(stand: Stand) -> None:
    with hole(stand.lab, HOLE_BYTES):
        assert both(stand, QUICK, full("b2")).passed  # a small packet finds nothing
        ended = both(stand, full("b2"), full("b2"))
    assert not ended.passed
    assert ended.cause == "tcp 10.9.9.9:80: '\\r\\n\\r\\nb2\\n' in an answer did not come within 0.5 s"
    assert both(stand, full("b2"), full("b2")).passed


@contextlib.contextmanager
def hole(lab: Lab, most: int) -> Iterator[None]:
    """Have the router drop without a word what comes from the lb in packets of more bytes."""
    code = "6112040000000000 6113000000000000 1f32000000000000 b700000002000000"  # r2 = data_end - data; r0 = XDP_PASS
    code += f"b5020100 {(most + 14).to_bytes(4, 'little').hex()} b700000001000000 9500000000000000"  # else XDP_DROP

    def put(program: int) -> None:
        with lab.inside("router"), IPRoute() as ipr:
            xdp = {"attrs": [("IFLA_XDP_FD", program), ("IFLA_XDP_FLAGS", syscall.XDP_FLAGS["native"])]}
            ipr.link("set", index=socket.if_nametoindex("lb"), xdp=xdp)
        os.close(program)

    put(syscall.load_xdp(bytes.fromhex(code)))
    try:
        yield
    finally:
        put(syscall.load_xdp(bytes.fromhex("b700000002000000 9500000000000000")))


def test_reply_path_blocked(stand: Stand) -> None:
    """A router with a strict rp_filter: answers come from where the VIP's own route does not lead."""
    with setting(stand.lab, "router", "b2", 1):
        assert both(stand, QUICK, QUICK) == ProbeEnded(False, not_there())
    assert both(stand, QUICK, QUICK).passed


@contextlib.contextmanager
def setting(lab: Lab, host: str, name: str, rp_filter: int) -> Iterator[None]:
    path = Path("/proc/sys/net/ipv4/conf", name, "rp_filter")

    def put(value: int) -> None:
        with lab.inside(host):
            path.write_text(str(value))

    put(rp_filter)
    try:
        yield
    finally:
        put(0)


# --- traps --------------------------------------------------------------------------------------------------


def look(stand: Stand) -> tuple[list[str], bool]:
    """Return the warnings, and whether a probe passes."""

    async def scene(way: Way) -> tuple[list[str], bool]:
        return way.tunnel.warnings, (await way.ask(QUICK, VIP4, 80)).passed

    return play(stand, scene)


def mend(stand: Stand, warning: str) -> None:
    """Run the command that a warning ends with."""
    command = warning.split("`")[-2]
    assert stand.lab.run("lb", ["sh", "-c", command]).returncode == 0, command


def test_a_strict_filter_where_answers_come_in_is_told_when_it_drops_them_and_only_then(stand: Stand) -> None:
    route = f"route add {VIP4}/32 via {address('lb', 4, 1)}"
    with setting(stand.lab, "lb", "eth0", 1), setting(stand.lab, "lb", "eth1", 1):
        assert look(stand) == ([], True)
        with holding(stand.lab, "lb", f"{route} src {address('lb2')}", f"route del {VIP4}/32"):
            (said,), passed = look(stand)
            assert not passed
            assert "come to 10.0.3.2 by eth1" in said
            mend(stand, said)
            assert look(stand) == ([], True)


@pytest.mark.parametrize(
    ("command", "undo"),
    [
        (f"addr add {VIP4}/32 dev lo", f"addr flush to {VIP4}"),
        (f"route add {VIP4}/32 dev eth0", f"route del {VIP4}/32 dev eth0"),
    ],
)
def test_what_a_warning_says_mends_it(stand: Stand, command: str, undo: str) -> None:
    with holding(stand.lab, "lb", command, undo):
        (said,), passed = look(stand)
        assert not passed
        mend(stand, said)
        assert look(stand) == ([], True)


# --- its life -----------------------------------------------------------------------------------------------


def test_a_probes_connection_goes_on_over_a_restart(stand: Stand) -> None:
    async def begin(way: Way) -> tuple[socket.socket, Target]:
        target = way.target(VIP4, 80)
        opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, target.mark)
        opened.settimeout(2)
        opened.connect((VIP4, 80))
        return opened, target

    async def find(way: Way) -> Target:
        return way.target(VIP4, 80)

    opened, target = play(stand, begin)
    with opened:
        opened.sendall(b"GET / HTTP/1.1\r\n\r\n")  # while nobody has the tunnel open
        assert opened.recv(4096).endswith(b"b2\n")
        assert play(stand, find) == target
        opened.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert opened.recv(4096).endswith(b"b2\n")


def test_it_stays_beside_the_daemon_whose_tables_are_swapped_until_detach(stand: Stand, tmp_path: Path) -> None:
    lab = stand.lab
    text = '[balancer]\ninterface = ["eth0"]\n' + service("web", 80, backend("b1"), backend("b2"))
    start(stand, tmp_path / "xdplb.toml", text)
    before = stand.client.status()["interface"]["code"]

    async def scene(way: Way) -> list[ProbeEnded]:
        first = await way.ask(who("b2"), VIP4, 80)
        added = ("backend", "add", "web", address("b1", 6), "--backend-name", "b1-6")  # wants another program
        done = await asyncio.to_thread(stand.run, *added)
        assert done.returncode == 0, done.stderr
        return [first, await way.ask(who("b2"), VIP4, 80), await way.ask(who("b2"), VIP6, 80)]

    assert [one.cause for one in play(stand, scene) if not one.passed] == []
    assert stand.client.status()["interface"]["code"] != before

    async def find(way: Way) -> bool:
        return way.tunnel.probes.pinned.adopted

    assert play(stand, find)
    stand.kill_daemon()
    assert "xdplb:" in lab.run("lb", ["tc", "filter", "show", "dev", "eth0", "egress"]).stdout
    assert stand.run("detach").returncode == 0
    assert lab.run("lb", ["tc", "filter", "show", "dev", "eth0", "egress"]).stdout == ""
    assert "clsact" not in lab.run("lb", ["tc", "qdisc", "show", "dev", "eth0"]).stdout
    assert not loader.Place(stand.name).pins.exists()
    assert not loader.Place(stand.name).run.exists()
