"""The agent on a backend: outer headers come off, others pass, strangers are refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from tests.rig.packets import BACKENDS4, BACKENDS6, LB4, LB6, VIP4, VIP6, config, service, tcp
from tests.rig.xdp import Action, Xdp
from xdplb import decap
from xdplb.dataplane import loader, syscall
from xdplb.errors import KernelError, RefusedError

SOURCES = [ip_address(LB4), ip_address(LB6)]


class Agent:
    """The program of the agent without an interface."""

    def __init__(self, place: loader.Place) -> None:
        self.place = place
        self.pinned = loader.obtain(place, decap.request_for(SOURCES))
        decap._believe(self.pinned, SOURCES)
        self.fd = syscall.get(self.pinned.program)

    def run(self, frame: Any) -> tuple[Action, bytes]:
        action, left, _ = syscall.test_run(self.fd, bytes(frame))
        return Action(action), left

    def counted(self) -> dict[str, int]:
        return {name: n for name, n in decap.read_counters(self.place).items() if n}


@pytest.fixture(scope="module")
def place() -> Iterator[loader.Place]:
    place = decap.place_for(f"test-{os.getpid()}")
    place.make()
    yield place
    place.remove()


@pytest.fixture(scope="module")
def loaded(place: loader.Place) -> Agent:
    return Agent(place)


@pytest.fixture
def agent(loaded: Agent) -> Agent:
    """The agent with its counters at 0, believing SOURCES."""
    decap._believe(loaded.pinned, SOURCES)
    fd = syscall.get(loaded.pinned.folder / "decapped")
    syscall.update(fd, bytes(4), bytes(48 * syscall.possible_cpus()))
    os.close(fd)
    return loaded


@pytest.mark.parametrize("vip", [VIP4, VIP6])
@pytest.mark.parametrize("backends", [BACKENDS4[:1], BACKENDS6[:1]])
def test_what_the_balancer_wraps_the_agent_unwraps(xdp: Xdp, agent: Agent, vip: str, backends: Any) -> None:
    xdp.serve(config(service(backends=backends)))
    sent = bytes(tcp(vip=vip))
    _, wrapped = xdp.run_bytes(sent)

    action, left = agent.run(wrapped)

    assert action is Action.PASS
    assert left[14:] == sent[14:]
    assert left[:12] == wrapped[:12]
    assert left[12:14] == (b"\x08\x00" if vip == VIP4 else b"\x86\xdd")
    assert agent.counted() == {"packets": 1, "bytes": len(sent)}


def outer(source: str, **fields: Any) -> Any:
    inner = IP(src="198.51.100.7", dst=VIP4) / UDP()
    return (
        Ether()
        / (IPv6(src=source, dst="fd00::1") if ":" in source else IP(src=source, dst="10.0.0.1", **fields))
        / inner
    )


@pytest.mark.parametrize("source", ["10.0.2.3", "fd00:2::3"])
def test_a_tunnel_from_a_stranger_is_dropped(agent: Agent, source: str) -> None:
    assert agent.run(outer(source))[0] is Action.DROP
    assert agent.counted() == {"dropped_source": 1}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (Ether() / ARP(), "passed_not_tunnel"),
        (Ether() / IP(src=LB4) / UDP(), "passed_not_tunnel"),
        (outer(LB4, options="NOP"), "passed_not_tunnel"),
        (outer(LB4, flags="MF"), "passed_not_tunnel"),
        (bytes(outer(LB4))[:30], "passed_truncated"),
        (bytes(outer(LB6))[:50], "passed_truncated"),
    ],
)
def test_what_is_no_tunnel_passes_untouched(agent: Agent, frame: Any, reason: str) -> None:
    assert agent.run(frame) == (Action.PASS, bytes(frame))
    assert agent.counted() == {reason: 1}


def test_believed_sources_are_exactly_those_given(agent: Agent) -> None:
    decap._believe(agent.pinned, SOURCES[1:])
    assert agent.run(outer(LB4))[0] is Action.DROP
    assert agent.run(outer(LB6))[0] is Action.PASS


def test_without_an_agent_there_is_nothing_to_read(place: loader.Place) -> None:
    with pytest.raises(KernelError, match="no decap agent has been started"):
        decap.read_counters(decap.place_for("none"))


def test_an_interface_that_is_not_there_is_refused(place: loader.Place) -> None:

    with pytest.raises(RefusedError, match="interface 'nope0' does not exist; there are: lo"):
        asyncio.run(decap.attach(place, "nope0", SOURCES, "native"))
