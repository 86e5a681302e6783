"""Connections of real clients whose packets reach the wrong backend first.

client ── router ── lb   not the balancer, but a relay of this test: it sends to whom it is told, and names another
  10.0.1.2   ├ b1  10.0.11.2    agent with second chance, a server
             └ b2  10.0.12.2    the same
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.packet import Raw

from tests.rig.tunnels import number
from tools.lab.net import VIP4, VIP6, Lab, address
from tools.lab.stand import ROOT, XDPLB, wait_for
from xdplb import decap
from xdplb.dataplane import loader

PATIENCE_S = 10.0
PORT = 8080
FAMILIES = pytest.mark.parametrize("family", [4, 6])


class Relay(threading.Thread):
    """Sends every packet for a VIP that comes to the lb on, in as many headers as there are backends in `way`."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self.way: list[str] = []
        self.ended = threading.Event()
        with lab.inside("lb"):
            self._taken = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
            self._taken.bind(("eth0", 3))
            self._sent = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def run(self) -> None:
        while not self.ended.is_set():
            if select.select([self._taken], [], [], 0.05)[0]:
                packet, (_, _, kind, *_) = self._taken.recvfrom(70000)
                if kind != socket.PACKET_OUTGOING and self._is_for_a_vip(packet):
                    self._send(packet)
        self._taken.close()
        self._sent.close()

    def _is_for_a_vip(self, packet: bytes) -> bool:
        destination = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
        return destination in (socket.inet_aton(VIP4), socket.inet_pton(socket.AF_INET6, VIP6))

    def _send(self, packet: bytes) -> None:
        for host in reversed(self.way):
            packet = bytes(IP(src=address("lb"), dst=address(host), proto=number(packet)) / Raw(packet))
        self._sent.sendto(packet, (address(self.way[0]), 0))


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    """Two backends behind the router, with agents."""
    with Lab(f"test-chance-{os.getpid()}", backends=2) as lab, agents(lab, "b1", "b2"):
        yield lab


@contextlib.contextmanager
def agents(lab: Lab, *hosts: str) -> Iterator[None]:
    """Agents with second chance on these hosts."""
    options = ("--interface", "eth0", "--from", address("lb"), "--vip", VIP4, "--vip", VIP6, "--second-chance")
    with contextlib.ExitStack() as stack:
        for host in hosts:
            lab.take_tx(host)
            name = place(lab, host).name.removeprefix("decap-")
            argv = [*XDPLB, "decap", "run", "--name", name, *options]
            agent = lab.spawn(host, argv, cwd=ROOT, stdout=subprocess.PIPE)
            stack.callback(place(lab, host).remove)
            stack.callback(loader.detach, place(lab, host))
            stack.callback(agent.wait, PATIENCE_S)
            stack.callback(agent.terminate)
            assert agent.stdout
            assert "decap program" in agent.stdout.readline()
        yield


def place(lab: Lab, host: str) -> loader.Place:
    return decap.place_for(f"{lab.prefix}-{host}")


@contextlib.contextmanager
def relaying(lab: Lab) -> Iterator[Relay]:
    relay = Relay(lab)
    relay.start()
    try:
        yield relay
    finally:
        relay.ended.set()
        relay.join(PATIENCE_S)


@pytest.fixture
def relay(network: Lab) -> Iterator[Relay]:
    with relaying(network) as relay:
        yield relay


@contextlib.contextmanager
def connection(
    lab: Lab, relay: Relay, family: int, hosts: tuple[str, str] = ("b1", "b2")
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's connection to the first of these hosts, its end and the server's; both listen."""
    vip, kind = (VIP4, socket.AF_INET) if family == 4 else (VIP6, socket.AF_INET6)
    with contextlib.ExitStack() as stack:
        servers = []
        for host in hosts:
            with lab.inside(host):
                servers.append(stack.enter_context(socket.create_server((vip, PORT), family=kind)))
        relay.way = [hosts[0]]
        with lab.inside("client"):
            client = stack.enter_context(socket.create_connection((vip, PORT), PATIENCE_S))
        served = stack.enter_context(servers[0].accept()[0])
        served.settimeout(PATIENCE_S)
        yield client, served


def talk(client: socket.socket, served: socket.socket, word: bytes) -> None:
    for sender, receiver in ((client, served), (served, client)):
        sender.sendall(word)
        assert receiver.recv(100) == word


def counted(lab: Lab, host: str, counter: str) -> int:
    return decap.read_counters(place(lab, host))[counter]


@FAMILIES
def test_a_connection_is_found_whichever_backend_is_asked_first(network: Lab, relay: Relay, family: int) -> None:
    handed_on, kept = (counted(network, host, name) for host, name in (("b2", "handed_on"), ("b1", "second_kept")))
    with connection(network, relay, family) as (client, served):
        talk(client, served, b"to b1")
        relay.way = ["b2", "b1"]
        talk(client, served, b"to b2, which has no socket")
        relay.way = ["b1", "b2"]
        talk(client, served, b"to b1, which has it")
    assert counted(network, "b2", "handed_on") > handed_on
    assert counted(network, "b1", "second_kept") > kept


@FAMILIES
def test_a_new_connection_stays_where_it_is_asked_for_first(network: Lab, relay: Relay, family: int) -> None:
    vip = VIP4 if family == 4 else VIP6
    with connection(network, relay, family):
        relay.way = ["b2", "b1"]
        before = counted(network, "b2", "handed_on")
        with network.inside("client"), socket.create_connection((vip, PORT), PATIENCE_S) as other:
            other.sendall(b"hello")
        wait_for(partial(counted, network, "b2", "second_kept"), "packets that stay on b2")
        assert counted(network, "b2", "handed_on") == before


@FAMILIES
def test_without_the_hint_the_connection_breaks(network: Lab, relay: Relay, family: int) -> None:
    with connection(network, relay, family) as (client, served):
        talk(client, served, b"to b1")
        relay.way = ["b2"]
        client.sendall(b"to b2, which has no socket and nobody to ask")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


@FAMILIES
def test_on_a_shared_link_the_agent_finds_the_other_backend_by_the_kernels_routes(family: int) -> None:
    """Balancer, n1 and n2 are neighbours: back to where the frame came from would be back to the balancer."""
    with Lab(f"test-shared-{os.getpid()}", backends=0) as lab:
        hosts = (lab.add_neighbour(), lab.add_neighbour())
        with agents(lab, *hosts), relaying(lab) as relay:
            with lab.inside("n2"):
                Path("/proc/sys/net/ipv4/conf/eth0/forwarding").write_text("1")
            assert address("n1") not in lab.run("n2", ["ip", "neigh"]).stdout  # the kernel has to ask for it
            with connection(lab, relay, family, hosts) as (client, served):
                relay.way = ["n2", "n1"]
                for word in (b"by the stack", b"by the program", b"and again"):
                    talk(client, served, word)
            assert counted(lab, "n2", "handed_on") >= 3
