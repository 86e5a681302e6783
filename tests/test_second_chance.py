"""A packet that names a second backend stays where its connection is: see tests/rig/second.py for the cast."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.rig.second import (
    ELSEWHERE,
    EVERY_FORM,
    HERE,
    LOCAL,
    NOBODY,
    SOURCES,
    VIP,
    VIPS,
    datagram,
    nested,
    one_hop_on,
    segment,
)
from tests.rig.tunnels import Agent, bare, turned
from tests.rig.xdp import Action
from tools.lab.net import VIP4, VIP6, Lab
from tools.lab.stand import wait_for
from xdplb import decap
from xdplb.errors import ConfigError

FAMILIES = pytest.mark.parametrize("family", [4, 6])
PATIENCE_S = 10.0
SYN_RECV, TIME_WAIT = 3, 6  # include/net/tcp_states.h


@pytest.fixture(scope="module")
def listeners(second_lab: Lab) -> Iterator[dict[int, socket.socket]]:
    """Servers on port 80 of both VIPs."""
    with contextlib.ExitStack() as stack, second_lab.inside("b1"):
        opened = {}
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            server = stack.enter_context(socket.socket(family))
            server.bind((VIP[version], 80))
            server.listen(16)
            opened[version] = server
        yield opened


@contextlib.contextmanager
def connected(lab: Lab, listener: socket.socket, family: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection of the local client: its end and the server's."""
    with lab.inside("b1"), socket.socket(listener.family) as client:
        client.settimeout(PATIENCE_S)
        client.bind((LOCAL[family], 0))
        client.connect((VIP[family], 80))
        served, _ = listener.accept()
        with served:
            yield client, served


def state(lab: Lab, family: int, port: int) -> int | None:
    """The state of b1's socket, on port 80, towards this port of a client."""
    with lab.inside("b1"):
        lines = Path("/proc/thread-self/net/tcp" + ("6" if family == 6 else "")).read_text().splitlines()[1:]
    for _, local, remote, number, *_ in (line.split() for line in lines):
        if (local.split(":")[1], int(remote.split(":")[1], 16)) == ("0050", port):
            return int(number, 16)
    return None


@contextlib.contextmanager
def wire(lab: Lab) -> Iterator[socket.socket]:
    """The router's end of b1's wire."""
    with lab.inside("router"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as opened:  # ETH_P_ALL
        opened.bind(("b1", 3))
        opened.settimeout(PATIENCE_S)
        yield opened


def put_on(lab: Lab, opened: socket.socket, packet: bytes) -> None:
    """Send an IP packet to b1."""
    found = re.search(r"link/ether (\S+)", lab.run("b1", ["ip", "link", "show", "eth0"]).stdout)
    assert found
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    opened.send(bytes.fromhex(found[1].replace(":", "")) + b"\x02\0\0\0\0\x01" + kind + packet)


def cookie(lab: Lab, family: int, port: int) -> int:
    """Open a connection from nobody; return the number that the server chose for its side."""
    with wire(lab) as opened:
        put_on(lab, opened, segment(family, port, "S"))
        while True:
            answer = Ether(opened.recv(2000))
            if TCP in answer and (answer[TCP].dport, str(answer[TCP].flags)) == (port, "SA"):
                return int(answer[TCP].seq)


# --- whose is it? -------------------------------------------------------------------------------------------


@EVERY_FORM
def test_what_has_no_socket_here_is_handed_on(
    second: Agent, wrap: str, out: int, mid: int, inn: int, tags: int
) -> None:
    packet = segment(inn)
    assert second.run(nested(packet, out, mid, wrap, tags)) == (ELSEWHERE, turned(one_hop_on(packet, mid), tags))
    assert second.counted() == {"handed_on": 1}


@EVERY_FORM
def test_what_has_one_stays(
    second: Agent, second_lab: Lab, listeners: Any, wrap: str, out: int, mid: int, inn: int, tags: int
) -> None:
    with connected(second_lab, listeners[inn], inn) as (client, _):
        packet = segment(inn, client.getsockname()[1], src=LOCAL[inn])
        assert second.run(nested(packet, out, mid, wrap, tags)) == (HERE, bare(packet, tags))
    expected = {"packets": 1, "bytes": len(bare(packet, tags)), wrap: 1, "second_kept": 1}
    assert second.counted() == expected


def test_the_next_backend_takes_what_is_handed_on(second: Agent, plain: Agent) -> None:
    packet = segment(4)
    _, left = second.run(nested(packet))
    assert plain.run(left) == (Action.PASS, left[:12] + b"\x08\x00" + packet)


@FAMILIES
@pytest.mark.parametrize("flags", ["A", "PA", "FA", "R", "RA", "S", "SA"])
def test_everything_of_a_connection_here_stays(
    second: Agent, second_lab: Lab, listeners: Any, family: int, flags: str
) -> None:
    with connected(second_lab, listeners[family], family) as (client, _):
        packet = segment(family, client.getsockname()[1], flags, LOCAL[family])
        assert second.run(nested(packet)) == (HERE, bare(packet))


@FAMILIES
def test_another_port_of_the_same_client_is_another_connection(
    second: Agent, second_lab: Lab, listeners: Any, family: int
) -> None:
    with connected(second_lab, listeners[family], family) as (client, _):
        packet = segment(family, client.getsockname()[1] ^ 1, src=LOCAL[family])
        assert second.run(nested(packet))[0] is ELSEWHERE


@FAMILIES
def test_a_half_open_connection_is_ours(second: Agent, second_lab: Lab, listeners: Any, family: int) -> None:
    port = 4001
    with wire(second_lab) as opened:
        put_on(second_lab, opened, segment(family, port, "S"))
    wait_for(lambda: state(second_lab, family, port) == SYN_RECV, "a half-open connection")

    packet = segment(family, port)

    assert second.run(nested(packet)) == (HERE, bare(packet))


@FAMILIES
def test_a_connection_that_has_just_ended_is_ours(second: Agent, second_lab: Lab, listeners: Any, family: int) -> None:
    with connected(second_lab, listeners[family], family) as (client, served):
        port = client.getsockname()[1]
        served.close()
        assert client.recv(1) == b""
    wait_for(lambda: state(second_lab, family, port) == TIME_WAIT, "TIME_WAIT")

    packet = segment(family, port, src=LOCAL[family])

    assert second.run(nested(packet)) == (HERE, bare(packet))


@FAMILIES
@pytest.mark.usefixtures("listeners")
def test_of_a_listener_only_what_opens_a_connection_stays(second: Agent, family: int) -> None:
    for flags, action in (("S", HERE), ("SEC", HERE), ("SA", ELSEWHERE), ("A", ELSEWHERE), ("PA", ELSEWHERE)):
        packet = segment(family, flags=flags, ack=7)
        assert second.run(nested(packet))[0] is action, flags
    for flags in ("FA", "R", "RA", ""):
        assert second.run(nested(segment(family, flags=flags)))[0] is ELSEWHERE, flags
    assert second.counted()["second_kept"] == 2
    assert second.counted()["handed_on"] == 7


@FAMILIES
@pytest.mark.usefixtures("listeners")
def test_an_opening_packet_for_which_nobody_listens_is_handed_on(second: Agent, family: int) -> None:
    assert second.run(nested(segment(family, flags="S", dport=81)))[0] is ELSEWHERE


@FAMILIES
@pytest.mark.usefixtures("listeners")
def test_the_acknowledgement_of_a_syn_cookie_is_ours(second: Agent, second_lab: Lab, family: int) -> None:
    port = 4002
    setting = Path("/proc/sys/net/ipv4/tcp_syncookies")
    with second_lab.inside("b1"):
        before = setting.read_text()
        setting.write_text("2")  # always, and remember nothing
    try:
        number = cookie(second_lab, family, port)
        assert state(second_lab, family, port) is None
        right, wrong = (segment(family, port, seq=1, ack=(number + more) % (1 << 32)) for more in (1, 1 << 28))
        assert second.run(nested(right)) == (HERE, bare(right))
        assert second.run(nested(wrong))[0] is ELSEWHERE
    finally:
        with second_lab.inside("b1"):
            setting.write_text(before)


def fragment(**fields: Any) -> bytes:
    return bytes(IP(src=NOBODY[4], dst=VIP4, **fields) / TCP(sport=4000, dport=80, flags="A"))


def behind(header: Any) -> bytes:
    return bytes(IPv6(src=NOBODY[6], dst=VIP6) / header / TCP(sport=4000, dport=80, flags="A"))


@pytest.mark.parametrize(
    "packet",
    [
        datagram(4),
        datagram(6),
        bytes(IP(src=NOBODY[4], dst=VIP4) / ICMP()),
        fragment(flags="MF"),
        fragment(frag=3),
        fragment(options=[IPOption(b"\x01")] * 4),
        behind(IPv6ExtHdrFragment(nh=6)),
        behind(IPv6ExtHdrDestOpt()),
        bytes(IP(src=NOBODY[4], dst=VIP4, proto=6) / Raw(bytes(19))),  # less than TCP's header
        bytes(IPv6(src=NOBODY[6], dst=VIP6, nh=6) / Raw(bytes(19))),
        bytes(IP(src=NOBODY[4], dst=VIP4, len=39) / TCP(flags="A")),
        bytes(IPv6(src=NOBODY[6], dst=VIP6, plen=19) / TCP(flags="A")),
    ],
)
@pytest.mark.parametrize("mid", [4, 6])
def test_what_says_nothing_of_a_connection_stays(second: Agent, packet: bytes, mid: int) -> None:
    assert second.run(nested(packet, mid=mid)) == (HERE, bare(packet))
    assert second.counted()["second_kept"] == 1


# --- settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: decap.Settings(second_chance=True), "given without --from BALANCER and --vip VIP; give --from"),
        (lambda: decap.Settings(SOURCES, second_chance=True), "is given without --vip VIP; give --vip VIP besides"),
        (lambda: decap.Settings((), VIPS, second_chance=True), "without --from BALANCER; give --from BALANCER besides"),
    ],
)
def test_it_needs_to_know_balancers_and_vips(make: Callable[[], decap.Settings], words: str) -> None:
    with pytest.raises(ConfigError, match=f"--second-chance: .*{words}"):
        make()
