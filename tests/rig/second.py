"""The agent with second chance on a host with sockets of its own, and packets that name a second backend.

    b1 (where the program runs, the VIPs on lo)  ── router

A client is 10.0.11.2, b1 itself, where a connection is real; or 10.0.1.99, who is nobody and never answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from tests.rig.packets import LB4, LB6
from tests.rig.tunnels import WRAPS, Agent, inner, middle
from tests.rig.xdp import Action
from tools.lab.net import VIP4, VIP6, Lab, address
from xdplb import decap
from xdplb.dataplane import loader

SOURCES, VIPS = (ip_network(LB4), ip_network(LB6)), (ip_network(VIP4), ip_network(VIP6))
SECOND = decap.Settings(SOURCES, VIPS, second_chance=True)
VIP = {4: VIP4, 6: VIP6}
LOCAL = {version: address("b1", version) for version in (4, 6)}
NOBODY = {version: address("client", version, 99) for version in (4, 6)}
HERE, ELSEWHERE = Action.PASS, Action.TX


class AgentThere(Agent):
    """The program as it would run on b1: with that host's sockets and routes."""

    lab: Lab

    def run(self, frame: Any) -> tuple[Action, bytes]:
        with self.lab.inside("b1"):
            return super().run(frame)


@pytest.fixture(scope="session")
def second_lab() -> Iterator[Lab]:
    with Lab(f"test-second-{os.getpid()}", backends=1) as network:
        yield network


@pytest.fixture(scope="session")
def second_place() -> Iterator[loader.Place]:
    place = decap.place_for(f"test-second-{os.getpid()}")
    place.make()
    yield place
    place.remove()


@pytest.fixture(scope="session")
def second_session(second_place: loader.Place, second_lab: Lab) -> AgentThere:
    agent = AgentThere(second_place, SECOND)
    agent.lab = second_lab
    return agent


@pytest.fixture
def second(second_session: AgentThere) -> AgentThere:
    """The agent with second chance."""
    second_session.begin()
    return second_session


@pytest.fixture(scope="session")
def plain_session(second_place: loader.Place) -> Agent:
    return Agent(second_place, decap.Settings(SOURCES, VIPS))


@pytest.fixture
def plain(plain_session: Agent) -> Agent:
    """The agent without it."""
    plain_session.begin()
    return plain_session


def segment(family: int, sport: int = 4000, flags: str = "A", src: str = "", dport: int = 80, **fields: Any) -> bytes:
    """A client's TCP packet; `src`: nobody, if not said."""
    network = (IP if family == 4 else IPv6)(src=src or NOBODY[family], dst=VIP[family])
    return bytes(network / TCP(sport=sport, dport=dport, flags=flags, **fields) / Raw(b"what is your name?"))


def datagram(family: int = 4, tos: int = 0, **fields: Any) -> bytes:
    """A client's UDP packet, of which nobody can say where it belongs."""
    return inner(family, tos, **{"dst": VIP[family]} | fields)


def nested(packet: bytes, out: int = 4, mid: int = 4, wrap: str = "ipip", tags: int = 0, **fields: Any) -> bytes:
    """The frame that carries the second backend's address along; `fields`: of the middle header."""
    return WRAPS[wrap](middle(packet, mid, **fields), out, tags)


def one_hop_on(packet: bytes, mid: int = 4, **fields: Any) -> bytes:
    """What is handed on of such a frame."""
    return middle(packet, mid, **{"ttl" if mid == 4 else "hlim": 63} | fields)


FORMS = [
    (wrap, out, mid, inn, tags)
    for wrap in WRAPS
    for out in (4, 6)
    for mid in (4, 6)
    for inn in (4, 6)
    for tags in (0, 1, 2)
]
EVERY_FORM = pytest.mark.parametrize(("wrap", "out", "mid", "inn", "tags"), FORMS)
