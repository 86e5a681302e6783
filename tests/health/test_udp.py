"""The `udp` check against servers on loopback that answer, lie, come late, or say nothing."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

from tests.rig.datagrams import Answer, Answering, ask, closed_port, open_files, server
from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Kind, Talk
from xdplb.health.probe import Target, probe
from xdplb.model import Check

SILENCE = 0.1  # seconds that a test waits for what never comes


def check(talk: Talk, timeout_s: float = 1.0) -> Check:
    return Check(kind=Kind.UDP, ask=talk, timeout_s=timeout_s)


def told(answering: Answering, talk: Talk, timeout_s: float = 1.0) -> ProbeEnded:
    async def run() -> ProbeEnded:
        async with server(answering) as port:
            ended, _ = await ask(check(talk, timeout_s), port)
            return ProbeEnded(ended.passed, ended.cause.replace(f"127.0.0.1:{port}", "B"))

    return asyncio.run(run())


def test_any_answer_passes_when_none_is_expected() -> None:
    ended = told(lambda data: [Answer(data + b"!")], Talk(b"ping"))
    assert ended.passed
    assert ended.cause.startswith("udp B: an answer of 5 bytes in ")


def test_an_empty_datagram_is_an_answer() -> None:
    assert told(lambda _: [Answer(b"")], Talk(b"ping")).passed


def test_what_is_expected_may_come_second() -> None:
    assert told(lambda _: [Answer(b"later"), Answer(b"\x00pong\xff", 0.01)], Talk(b"ping", "p.ng")).passed


def test_a_wrong_answer_is_shown() -> None:
    assert told(lambda _: [Answer(b"no\n")], Talk(b"ping", "pong"), SILENCE) == ProbeEnded(
        False, "udp B: 'pong' in an answer (there was b'no\\n') did not come within 0.1 s"
    )


def test_silence_runs_into_the_timeout() -> None:
    assert told(lambda _: [], Talk(b"ping"), SILENCE) == ProbeEnded(False, "udp B: an answer did not come within 0.1 s")


def test_a_slow_answer_passes_within_the_timeout_and_not_after_it() -> None:
    assert told(lambda _: [Answer(b"x", 0.15)], Talk(b"ping")).passed
    assert not told(lambda _: [Answer(b"x", 0.15)], Talk(b"ping"), 0.05).passed


def test_others_may_not_answer() -> None:
    assert not told(lambda _: [Answer(b"pong", elsewhere=True)], Talk(b"ping"), SILENCE).passed


def test_a_closed_port_is_told_at_once() -> None:
    with closed_port() as port:
        ended, _ = asyncio.run(ask(check(Talk(b"ping"), 30), port))
    assert ended == ProbeEnded(False, f"udp 127.0.0.1:{port}: refused")


def test_what_is_too_long_for_any_datagram_is_a_failure() -> None:
    ended = told(lambda _: [], Talk(bytes(70000)))
    assert ended == ProbeEnded(False, "udp B: message too long")


def test_ipv6_is_asked_alike() -> None:
    async def run() -> ProbeEnded:
        async with server(lambda data: [Answer(data)], "::1") as port:
            return await probe(check(Talk(b"ping")), Target(ip_address("::1"), port))

    assert asyncio.run(run()).passed


def test_a_cancelled_probe_leaves_nothing_open() -> None:
    async def run() -> None:
        async with server(lambda _: []) as port:
            before = open_files()
            asked = asyncio.create_task(ask(check(Talk(b"ping"), 30), port))
            while open_files() == before:
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            assert open_files() <= before  # what others left open may be gone

    asyncio.run(asyncio.wait_for(run(), 5))


def test_not_every_wrong_answer_is_looked_at() -> None:
    ended = told(lambda _: [Answer(b"no")] * 65, Talk(b"ping", "pong"), 5)
    assert ended == ProbeEnded(False, "udp B: 64 answers, none of them right: the last was b'no'")
