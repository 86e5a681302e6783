"""What happens on the way to a VIP besides plain forwarding: long packets, fragments, errors, limits.

client ── router ── lb ⟲           80: b1, b2 and b3 by IP in IP;  81: b1 (IPv4 outside);  82: b2 (IPv6 outside)
  10.0.1.2-40  ├ b1  10.0.11.2     83: b1, few connections a second;  7: UDP, b1
               ├ b2  fd00:12::2
               └ b3  10.0.13.2
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.rig.traffic import (
    PATIENCE_S,
    ask,
    backend,
    holding,
    ip,
    raw,
    service,
    start,
    tx_errors,
    udp,
    verdicts,
)
from tools.lab import web
from tools.lab.net import CLIENT_LASTS, VIP4, VIP6, Lab, address
from tools.lab.stand import Stand, wait_for

VIPS = pytest.mark.parametrize("vip", [VIP4, VIP6])
BIG = 100_000_000
LEG_MTU = 1400
BURST = 5
CONFIG = (
    '[balancer]\ninterface = "eth0"\n'
    + service("all", 80, backend("b1"), backend("b2", 6), backend("b3"))
    + service("four", 81, backend("b1"))
    + service("six", 82, backend("b2", 6))
    + service("limited", 83, backend("b1"), limits={"connections_per_s": 1, "connections_burst": BURST})
    + service("udp", 7, backend("b1"), protocol="udp")
)


@pytest.fixture(scope="module")
def path(stand_session: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The daemon with these services, and their servers."""
    servers = [
        web.start(stand_session.lab, [host], ports)[host] for host, ports in {"b1": [81, 83], "b2": [82]}.items()
    ]
    start(stand_session, tmp_path_factory.mktemp("path") / "xdplb.toml", CONFIG)
    yield stand_session
    stand_session.kill_daemon()
    stand_session.forget_balancer()
    for server in servers:
        server.terminate()
        server.wait(5)


def version(vip: str) -> int:
    return 6 if ":" in vip else 4


def learned_mtu(lab: Lab, host: str, towards: str) -> int:
    """The path MTU that a host has learned, 0 for none."""
    found = re.search(r" mtu (\d+)", ip(lab, host, f"-{version(towards)} route get {towards}"))
    return int(found[1]) if found else 0


def forget_mtus(lab: Lab, *hosts: str) -> None:
    for host in hosts:
        for family in (4, 6):
            ip(lab, host, f"-{family} route flush cache")


# --- path MTU -----------------------------------------------------------------------------------------------


@VIPS
def test_download_over_a_short_leg_to_the_client(path: Stand, vip: str) -> None:
    """The router's errors go to the VIP, and from the balancer to the backend whose packet was too long."""
    lab = path.lab
    *sources, one_more = [address("client", version(vip), last) for last in CLIENT_LASTS][:7]
    with holding(lab, "router", f"link set client mtu {LEG_MTU}", "link set client mtu 1500"):
        served = {source: ask(lab, vip, 80, down=200_000, source=source) for source in sources}
        _, size = ask(lab, vip, 80, down=BIG, source=one_more)
    try:
        assert {size for _, size in served.values()} == {200_000}
        assert size == BIG
        assert len({name for name, _ in served.values()}) > 1
        for source, (name, _) in served.items():
            knows = {host: mtu for host in lab.backends if (mtu := learned_mtu(lab, host, source))}
            assert knows == {name: LEG_MTU}
    finally:
        forget_mtus(lab, *lab.backends)


@VIPS
@pytest.mark.parametrize(("port", "host", "family", "header"), [(81, "b1", 4, 20), (82, "b2", 6, 40)])
def test_upload_over_a_short_leg_to_the_backend(
    path: Stand, vip: str, port: int, host: str, family: int, header: int
) -> None:
    """The balancer itself says what its headers leave of the way's MTU, and nothing dies at its NIC."""
    lab, before, errors = path.lab, verdicts(path)["answered_too_big"], tx_errors(path)
    net, via = ("10.0.11.0/24", address("lb", 4, 1)) if family == 4 else ("fd00:12::/64", address("lb", 6, 1))
    route = f"-{family} route %s {net} via {via}"
    with (
        holding(lab, "router", f"link set {host} mtu {LEG_MTU}", f"link set {host} mtu 1600"),
        holding(lab, "lb", f"{route % 'add'} mtu {LEG_MTU}", route % "del"),
    ):
        try:
            wait_for(
                lambda: ask(lab, vip, port, up=50_000) and verdicts(path)["answered_too_big"] > before, "an answer"
            )
            assert tx_errors(path) == errors
            forget_mtus(lab, "client")
            before = verdicts(path)["answered_too_big"]

            assert ask(lab, vip, port, up=BIG)[0] == host

            assert learned_mtu(lab, "client", vip) == LEG_MTU - header
            assert verdicts(path)["answered_too_big"] > before
        finally:
            forget_mtus(lab, "client")


# --- ICMP ---------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


@VIPS
@pytest.mark.parametrize("size", [0, 56, 1400])
def test_ping_to_a_vip_is_answered(path: Stand, vip: str, size: int) -> None:
    four, before = version(vip) == 4, verdicts(path)["answered_echo"]
    payload = os.urandom(size)
    rest = struct.pack(">HH", os.getpid() & 0xFFFF, 7) + payload
    request = struct.pack(">BBH", 8, 0, checksum(b"\x08\0\0\0" + rest)) + rest if four else b"\x80\0\0\0" + rest
    family, protocol = (socket.AF_INET, 1) if four else (socket.AF_INET6, 58)
    with raw(path.lab, "client", family, protocol) as pinger:
        pinger.sendto(request, (vip, 0))
        answer = wait_for(lambda: answer_to(pinger, vip, 0 if four else 129), "an echo")
    assert answer[4:] == rest
    assert not four or checksum(answer) == 0  # in IPv6 the kernel checks it
    assert verdicts(path)["answered_echo"] == before + 1


def answer_to(pinger: socket.socket, vip: str, kind: int) -> bytes | None:
    """Return the next ICMP message if it is of this kind and from this address."""
    message, sender = pinger.recvfrom(4096)
    if pinger.family == socket.AF_INET:
        message = message[(message[0] & 15) * 4 :]
    return message if sender[0] == vip and message[0] == kind else None


@VIPS
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_traceroute_shows_the_balancer_and_reaches_the_backend(path: Stand, vip: str, kind: str) -> None:
    with echoing(path.lab, "b1", vip):
        hops = [hop(path.lab, vip, kind, limit) for limit in (1, 2, 3)]
    assert hops == [address("client", version(vip), 1), vip, "reached"]


def hop(lab: Lab, vip: str, kind: str, limit: int) -> str:
    """Return who says that the time to live is over, or "reached" when the server answers."""
    four = version(vip) == 4
    family, over = (socket.AF_INET, 11) if four else (socket.AF_INET6, 3)
    level, option = (socket.IPPROTO_IP, socket.IP_TTL) if four else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
    with lab.inside("client"):
        probe = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        errors = socket.socket(family, socket.SOCK_RAW, 1 if four else 58)
    with probe, errors:
        probe.setsockopt(level, option, limit)
        probe.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            probe.connect((vip, 81 if kind == "tcp" else 7))
            probe.send(b"where?")
        reads, writes = ([errors], [probe]) if kind == "tcp" else ([errors, probe], [])
        while (ready := select.select(reads, writes, [], PATIENCE_S)) != ([], [], []):
            if errors in ready[0]:
                message, sender = errors.recvfrom(4096)
                if message[(message[0] & 15) * 4 if four else 0] == over:
                    return str(sender[0])
            elif kind == "tcp":
                return f"error {code}" if (code := probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) else "reached"
            else:
                return "reached" if probe.recv(100) == b"where?" else "another answer"
    return "nothing"


@VIPS
def test_a_clients_unreachable_reaches_the_backends_socket(path: Stand, vip: str) -> None:
    """An ICMP error about a flow goes where the flow goes, and the socket there sees it."""
    client = (address("client", version(vip)), 0)
    with udp(path.lab, "client", client) as asker, udp(path.lab, "b1", (vip, 7)) as server:
        asker.sendto(b"hello", (vip, 7))
        greeting, sender = server.recvfrom(100)
        server.connect(sender)
        asker.close()

        server.send(b"nobody is there")

        with pytest.raises(ConnectionRefusedError):
            server.recv(100)
    assert greeting == b"hello"


# --- fragments ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def echoing(lab: Lab, host: str, vip: str, narrow: bool = True) -> Iterator[None]:
    """A UDP echo on a backend, in this process. `narrow`: its IPv6 answers keep to the clients' MTU from the start."""
    server = udp(lab, host, (vip, 7))
    if narrow and version(vip) == 6:
        server.setsockopt(socket.IPPROTO_IPV6, 24, 1500)  # IPV6_MTU
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            if select.select([server], [], [], 0.05)[0]:
                server.sendto(*server.recvfrom(65535))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        server.close()


@VIPS
def test_a_datagram_in_fragments_arrives_whole(path: Stand, vip: str) -> None:
    with echoing(path.lab, "b1", vip), udp(path.lab, "client", (address("client", version(vip)), 0)) as client:
        for _ in range(10):
            sent = os.urandom(8000)
            client.sendto(sent, (vip, 7))
            assert client.recv(10_000) == sent


@VIPS
def test_a_backend_learns_the_mtu_of_its_fragments_way(path: Stand, vip: str) -> None:
    """Its link takes 1,600 bytes and the client's 1,500; in IPv6 the router's error is about a fragment."""
    lab, client = path.lab, (address("client", version(vip)), 0)
    try:
        with echoing(lab, "b1", vip, narrow=False), udp(lab, "client", client) as asker:

            def answered() -> bool:
                asker.sendto(bytes(8000), (vip, 7))
                return bool(select.select([asker], [], [], 0.2)[0])

            wait_for(answered, "a whole answer", 2)
            assert asker.recv(10_000) == bytes(8000)
    finally:
        forget_mtus(lab, "b1")


@VIPS
def test_fragments_that_overtake_the_first_one_are_dropped_and_counted(path: Stand, vip: str) -> None:
    from scapy.layers.inet import IP, UDP, fragment
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6

    before, four, port = verdicts(path)["dropped_fragment"], version(vip) == 4, 5555
    datagram = UDP(sport=port, dport=7) / os.urandom(8000)
    source = address("client", version(vip))
    if four:
        parts = fragment(IP(src=source, dst=vip, id=77) / datagram, 1400)  # type: ignore[no-untyped-call]
    else:
        whole = IPv6(src=source, dst=vip) / IPv6ExtHdrFragment(id=77) / datagram
        parts = fragment6(whole, 1400)  # type: ignore[no-untyped-call]
    with (
        echoing(path.lab, "b1", vip),
        udp(path.lab, "client", (source, port)) as client,
        raw(path.lab, "client", client.family, socket.IPPROTO_RAW) as sender,
    ):
        for part in (*reversed(parts), *parts):
            sender.sendto(bytes(part), (vip, 0))
        assert client.recv(10_000) == bytes(datagram.payload)  # the second time, in their order

    assert len(parts) > 4
    assert verdicts(path)["dropped_fragment"] - before == len(parts) - 1


# --- limits -------------------------------------------------------------------------------------------------


@VIPS
def test_a_client_over_its_limit_is_refused_and_others_go_on(path: Stand, vip: str) -> None:
    before = verdicts(path)["dropped_connection_rate"]
    own, other = (
        address("client", version(vip), 20),
        address("client", 4, 20 + version(vip)),
    )  # an IPv6 /64 is one client
    with contextlib.ExitStack() as stack:
        eager = [stack.enter_context(calling(path.lab, own, vip)) for _ in range(4 * BURST)]
        wait_for(lambda: verdicts(path)["dropped_connection_rate"] - before >= 3 * BURST - 1, "dropped SYNs", 3)
        wait_for(lambda: len(select.select([], eager, [], 0)[1]) >= BURST, "connections", 1)
        assert len(select.select([], eager, [], 0)[1]) <= BURST + 1

        assert ask(path.lab, VIP4, 83, source=other) == ("b1", 3)
        assert ask(path.lab, vip, 81, source=own) == ("b1", 3)  # and its other services


def calling(lab: Lab, source: str, vip: str) -> socket.socket:
    """Return a socket that is connecting."""
    with lab.inside("client"):
        caller = socket.socket(socket.AF_INET6 if ":" in vip else socket.AF_INET)
    caller.setblocking(False)
    caller.bind((source, 0))
    assert caller.connect_ex((vip, 83)) == errno.EINPROGRESS
    return caller
