"""The agent tells balancers where clients want to and nobody answers: see tests/rig/second.py for the cast."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.rig.second import LOCAL, SOURCES, VIP, VIPS, AgentThere, nested, segment
from tests.rig.tunnels import WRAPS
from tests.rig.xdp import Action
from tools.lab.net import Lab, address
from tools.lab.stand import wait_for
from xdplb import decap
from xdplb.dataplane import loader
from xdplb.health.evidence import Sign, Unanswered, unpack
from xdplb.model import EVIDENCE_PORT
from xdplb.reporter import Reporter, Whom

FAMILIES = pytest.mark.parametrize("family", [4, 6])
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def witness_session(second_place: loader.Place, second_lab: Lab) -> AgentThere:
    agent = AgentThere(second_place, decap.Settings(SOURCES, VIPS, second_chance=True, report=True))
    agent.lab = second_lab
    return agent


@pytest.fixture
def witness(second: AgentThere, witness_session: AgentThere) -> AgentThere:
    """The agent's program with `--report`, on b1."""
    witness_session.begin()
    return witness_session


@contextlib.contextmanager
def reporter(agent: AgentThere, whom: Whom) -> Iterator[Reporter]:
    with agent.lab.inside("b1"), contextlib.closing(Reporter(agent.pinned, whom)) as opened:
        yield opened


@contextlib.contextmanager
def balancer(lab: Lab, family: int, port: int = EVIDENCE_PORT) -> Iterator[socket.socket]:
    """What the balancer opens for reports."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with lab.inside("lb"), socket.socket(kind, socket.SOCK_DGRAM) as opened:
        opened.bind((address("lb", family), port))
        opened.settimeout(PATIENCE_S)
        yield opened


@contextlib.contextmanager
def listener(lab: Lab, family: int, backlog: int = 16, at: str | None = None) -> Iterator[socket.socket]:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with lab.inside("b1"), socket.socket(kind) as server:
        server.bind((VIP[family] if at is None else at, 80))
        server.listen(backlog)
        yield server


def opening(family: int, dport: int = 80, out: int = 4, wrap: str = "ipip", flags: str = "S", **fields: Any) -> bytes:
    return WRAPS[wrap](segment(family, flags=flags, dport=dport), out, **fields)


def nobody(family: int, port: int = 80, count: int = 1) -> Unanswered:
    return Unanswered(ip_address(VIP[family]), port, Sign.NO_SOCKET, count)


@FAMILIES
@pytest.mark.parametrize("out", [4, 6])
@pytest.mark.parametrize("wrap", WRAPS)
def test_who_sent_an_opening_that_nobody_answers_is_told(
    witness: AgentThere, second_lab: Lab, family: int, out: int, wrap: str
) -> None:
    with balancer(second_lab, out) as receiver, reporter(witness, Whom(sources=SOURCES)) as agent:
        for _ in range(3):
            assert witness.run(opening(family, out=out, wrap=wrap))[0] is Action.PASS
        found = agent.look()
        said, (source, *_) = receiver.recvfrom(2000)

    assert unpack(said) == found == [nobody(family, count=3)]
    assert source == address("b1", out)
    assert (
        found[0].cause == f"no socket listens on {f'[{VIP[6]}]' if family == 6 else VIP[4]}:80 there (its agent says)"
    )


@FAMILIES
def test_an_opening_that_a_socket_answers_is_nothing_to_tell(witness: AgentThere, second_lab: Lab, family: int) -> None:
    with listener(second_lab, family), reporter(witness, Whom(sources=SOURCES)) as agent:
        witness.run(opening(family))
        witness.run(opening(family, dport=81))
        assert agent.look() == [nobody(family, 81)]
        assert agent.look() == []


@FAMILIES
@pytest.mark.parametrize("flags", ["A", "SA", "PA", "FA", "R", ""])
def test_only_openings_are_counted(witness: AgentThere, family: int, flags: str) -> None:
    with reporter(witness, Whom(sources=SOURCES)) as agent:
        witness.run(opening(family, flags=flags))
        assert agent.look() == []


def test_what_goes_on_to_a_second_backend_is_told_too(witness: AgentThere) -> None:
    with reporter(witness, Whom(sources=SOURCES)) as agent:
        assert witness.run(nested(segment(4, flags="S")))[0] is Action.TX
        assert agent.look() == [nobody(4)]


def test_a_program_without_report_notes_nothing(witness: AgentThere, second: AgentThere) -> None:
    with reporter(witness, Whom(sources=SOURCES)) as agent:
        second.run(opening(4))
        assert agent.look() == []


def test_what_was_noted_before_is_not_told(witness: AgentThere) -> None:
    witness.run(opening(4))
    with reporter(witness, Whom(sources=SOURCES)) as agent:
        assert agent.look() == []


def test_each_destination_is_counted_for_itself(witness: AgentThere) -> None:
    with reporter(witness, Whom(sources=SOURCES)) as agent:
        for port in (80, 81, 81):
            witness.run(opening(4, dport=port))
        witness.run(opening(6, dport=80))
        found = sorted(agent.look(), key=lambda one: (str(one.address), one.port))
    assert found == [nobody(4, 80), nobody(4, 81, 2), nobody(6, 80)]


def test_named_ones_are_told_and_no_others(witness: AgentThere, second_lab: Lab) -> None:
    whom = Whom((ip_address(address("lb", 6)),), 7001, SOURCES)
    with (
        balancer(second_lab, 4, 7001) as other,
        balancer(second_lab, 6, 7001) as named,
        reporter(witness, whom) as agent,
    ):
        witness.run(opening(4, out=4))
        agent.look()
        assert unpack(named.recv(2000)) == [nobody(4)]
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(2000)


def test_a_sender_outside_of_from_is_not_told(witness: AgentThere, second_lab: Lab) -> None:
    whom = Whom(sources=(ip_network("10.99.0.0/16"), ip_network(address("lb", 6))))
    with balancer(second_lab, 4) as not_ours, balancer(second_lab, 6) as ours, reporter(witness, whom) as agent:
        witness.run(opening(4, out=4))
        witness.run(opening(4, out=6))
        agent.look()
        assert unpack(ours.recv(2000)) == [nobody(4, count=2)]
        not_ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            not_ours.recv(2000)


def test_of_a_scan_only_so_much_is_read_at_a_time(witness: AgentThere) -> None:
    with reporter(witness, Whom(sources=SOURCES)) as agent:
        for port in range(1000, 1100):
            witness.run(opening(4, dport=port))
        assert len(agent.look()) == 64
        assert 0 < len(agent.look()) <= 36


def test_an_idle_look_costs_next_to_nothing(witness: AgentThere) -> None:
    with reporter(witness, Whom(sources=SOURCES)) as agent:
        agent.look()
        began = time.thread_time()
        for _ in range(100):
            agent.look()
        assert (time.thread_time() - began) / 100 < 0.05 * 0.02  # 2 % of a core, twenty times a second


@FAMILIES
@pytest.mark.parametrize("anywhere", [False, True])
def test_a_server_that_takes_no_connections_is_told_of(
    witness: AgentThere, second_lab: Lab, family: int, anywhere: bool
) -> None:
    at = {4: "0.0.0.0", 6: "::"}[family] if anywhere else None
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener(second_lab, family, backlog=1, at=at))
        agent = stack.enter_context(reporter(witness, Whom(sources=SOURCES)))
        receiver = stack.enter_context(balancer(second_lab, 4))
        witness.run(opening(family))  # so that somebody is told
        assert agent.look() == []
        found: list[Unanswered] = []

        def overflown() -> bool:
            with second_lab.inside("b1"):
                client = stack.enter_context(socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6))
                client.setblocking(False)
                client.bind((LOCAL[family], 0))
                client.connect_ex((VIP[family], 80))
                found.extend(agent.look())
            return bool(found)

        wait_for(overflown, "a full queue")
        (said,) = unpack(receiver.recv(2000))
    assert (said.address, said.port, said.sign) == (
        None if anywhere else ip_address(VIP[family]),
        80,
        Sign.QUEUE_FULL,
    )
