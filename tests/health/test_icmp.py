"""The `icmp` check: against this kernel, and against a wire whose other end does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6
from scapy.packet import Packet, Raw

from tests.rig.datagrams import open_files
from tests.rig.tun import BACKENDS, CLIENTS, ROUTERS, Wire, fail_marked, wire
from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Kind
from xdplb.health.probe import Target, probe
from xdplb.model import Check

pytestmark = pytest.mark.root
SILENCE = 0.1  # seconds that a test waits for what never comes
CHECK = Check(kind=Kind.ICMP)
both = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture(scope="module")
def one_wire() -> Iterator[Wire]:
    with wire() as there:
        yield there


@pytest.fixture
def there(one_wire: Wire) -> Wire:
    """The wire, whose other end says nothing yet."""
    one_wire.seen.clear()
    one_wire.answering, one_wire.after_s = lambda packet: [], 0.0
    return one_wire


def ask(there: Wire, version: int, check: Check = CHECK, packet_bytes: int = 0, mark: int = 0) -> ProbeEnded:
    bugs: list[dict[str, Any]] = []

    async def run() -> ProbeEnded:
        asyncio.get_running_loop().set_exception_handler(lambda _, bug: bugs.append(bug))
        there.listen()
        return await probe(check, Target(ip_address(BACKENDS[version]), 0, mark, packet_bytes))

    ended = asyncio.run(run())
    assert not bugs
    return replace(ended, cause=ended.cause.replace(BACKENDS[version], "B"))


def echo(packet: Packet, payload: bytes | None = None, src: str | None = None, **lies: int) -> Packet:
    """Answer a request, but for what is not to be as it should."""
    if packet.version == 4:
        asked = packet[ICMP]
        answer: Packet = IP(src=src or packet.dst, dst=packet.src) / ICMP(type=0, id=asked.id, seq=asked.seq)
        answer /= Raw(bytes(asked.payload) if payload is None else payload)
    else:
        asked = packet[ICMPv6EchoRequest]
        answer = IPv6(src=src or packet.dst, dst=packet.src) / ICMPv6EchoReply(id=asked.id, seq=asked.seq)
        answer.data = asked.data if payload is None else payload
    for name, value in lies.items():
        setattr(answer.getlayer(1), name, value)
    return answer


def unreachable(packet: Packet, code: int, quoted: int = 1000) -> Packet:
    """A router's word on a packet, of which it quotes so much."""
    if packet.version == 4:
        return IP(src=ROUTERS[4], dst=packet.src) / ICMP(type=3, code=code) / Raw(bytes(packet)[:quoted])
    return IPv6(src=ROUTERS[6], dst=packet.src) / ICMPv6DestUnreach(code=code) / Raw(bytes(packet)[:quoted])


def too_big(packet: Packet, mtu: int) -> Packet:
    if packet.version == 4:
        return IP(src=ROUTERS[4], dst=packet.src) / ICMP(type=3, code=4, nexthopmtu=mtu) / bytes(packet)[:28]
    return IPv6(src=ROUTERS[6], dst=packet.src) / ICMPv6PacketTooBig(mtu=mtu) / Raw(bytes(packet)[:1000])


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_host_that_answers_passes(address: str) -> None:
    ended = asyncio.run(probe(CHECK, Target(ip_address(address), 0)))
    assert ended.passed
    assert ended.cause.startswith(f"icmp {address}: an echo in ")


@both
def test_requests_are_whole_and_their_checksums_right(there: Wire, version: int) -> None:
    there.answering = lambda packet: [echo(packet)]
    assert ask(there, version, replace(CHECK, full_size=True), 1500).passed
    assert [len(packet) for packet in there.seen] == [84 if version == 4 else 104, 1500]
    for packet in there.seen:
        again = packet.copy()
        if version == 4:
            assert packet.flags == "DF"
            del again[ICMP].chksum
        else:
            del again[ICMPv6EchoRequest].cksum
        assert bytes(again) == bytes(packet)


@both
def test_silence_runs_into_the_timeout(there: Wire, version: int) -> None:
    ended = ask(there, version, replace(CHECK, timeout_s=SILENCE))
    assert ended == ProbeEnded(False, "icmp B: an echo did not come within 0.1 s")


def test_a_slow_answer_passes_within_the_timeout_and_not_after_it(there: Wire) -> None:
    there.answering, there.after_s = lambda packet: [echo(packet)], 0.15
    assert ask(there, 4).passed
    assert not ask(there, 4, replace(CHECK, timeout_s=0.05)).passed


LIES: dict[str, dict[str, Any]] = {
    "other id": {"id": 7},
    "other sequence": {"seq": 7},
    "other payload": {"payload": bytes(56)},
    "short": {"payload": b"xdplb"},
    "a request": {"type": 8},
}


@both
@pytest.mark.parametrize("lie", LIES)
def test_what_is_no_answer_to_this_is_passed_over(there: Wire, version: int, lie: str) -> None:
    lies = {**LIES[lie], **({"type": 128} if lie == "a request" and version == 6 else {})}
    there.answering = lambda packet: [echo(packet, **lies)] if len(there.seen) == 1 else []  # or requests go on
    assert not ask(there, version, replace(CHECK, timeout_s=SILENCE)).passed


@both
def test_others_may_not_answer(there: Wire, version: int) -> None:
    there.answering = lambda packet: [echo(packet, src=ROUTERS[version])]
    assert not ask(there, version, replace(CHECK, timeout_s=SILENCE)).passed


@pytest.mark.parametrize(
    ("version", "code", "means"),
    [
        (4, 1, "host unreachable"),
        (4, 13, "prohibited by a filter"),
        (4, 14, "not delivered (ICMP type 3, code 14)"),
        (6, 0, "no route"),
        (6, 3, "address unreachable"),
    ],
)
def test_what_a_router_says_is_told_at_once(there: Wire, version: int, code: int, means: str) -> None:
    there.answering = lambda packet: [unreachable(packet, code)]
    ended = ask(there, version, replace(CHECK, timeout_s=30))
    assert ended == ProbeEnded(False, f"icmp B: {means}, says {ROUTERS[version]}")


@both
def test_a_routers_word_on_other_packets_is_none_on_ours(there: Wire, version: int) -> None:
    def others(packet: Packet) -> Sequence[Packet]:
        other_target, other_id = packet.copy(), packet.copy()
        other_target.dst = ROUTERS[version]
        other_id[ICMP if version == 4 else ICMPv6EchoRequest].id ^= 1
        cut = [unreachable(packet, 1, quoted) for quoted in (0, 9, 25)]
        return [unreachable(other_target, 1), unreachable(other_id, 1), *cut, echo(packet)]

    there.answering = others
    assert ask(there, version).passed


@both
def test_an_mtu_hole_is_told_from_silence(there: Wire, version: int) -> None:
    there.answering = lambda packet: [echo(packet)] if len(packet) < 1000 else []
    ended = ask(there, version, replace(CHECK, full_size=True, timeout_s=SILENCE), 1500)
    hole = "packets of 1500 bytes do not get through, small ones do"
    assert ended == ProbeEnded(False, f"icmp B: {hole}: an echo did not come within 0.1 s")
    there.answering = lambda packet: [echo(packet) if len(packet) < 1400 else too_big(packet, 1400)]
    for _ in range(2):  # what the kernel has learned from the first does not keep the second here
        ended = ask(there, version, replace(CHECK, full_size=True, timeout_s=30), 1500)
        assert ended == ProbeEnded(False, f"icmp B: {hole}: at most 1400 bytes go on, says {ROUTERS[version]}")
    ended = ask(there, version, replace(CHECK, full_size=True), 1600)
    assert ended.cause == "icmp B: packets of 1600 bytes do not get through, small ones do: too long for the first link"


def test_a_probe_carries_its_mark(there: Wire) -> None:
    fail_marked(77)
    there.answering = lambda packet: [echo(packet)]
    assert ask(there, 4, mark=78).passed
    assert ask(there, 4, mark=77).cause == "icmp B: no route to host: somebody on the way says so"


def test_many_at_once_share_one_socket_which_is_gone_afterwards(there: Wire) -> None:
    async def run() -> None:
        there.listen()
        targets = [
            Target(ip_address(f"198.18.0.{number}"), 0) for number in range(2, 202)
        ] * 2  # as many as wait in a wire
        before = open_files()
        asked = [asyncio.create_task(probe(replace(CHECK, timeout_s=10), target)) for target in targets]
        while len(open_files()) == len(before):
            await asyncio.sleep(0)
        assert len(open_files()) == len(before) + 1
        assert all(ended.passed for ended in await asyncio.gather(*asked))
        assert open_files() == before

    there.answering = lambda packet: [echo(packet)]
    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_cancelled_probe_leaves_nothing_open(there: Wire) -> None:
    async def run() -> None:
        there.listen()
        before = open_files()
        asked = asyncio.create_task(probe(replace(CHECK, timeout_s=30), Target(ip_address(BACKENDS[4]), 0)))
        while not there.seen:
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert open_files() == before

    asyncio.run(asyncio.wait_for(run(), 5))


def test_the_wire_begins_at_the_client(there: Wire) -> None:
    ask(there, 4, replace(CHECK, timeout_s=0.01))
    assert there.seen[0].src == CLIENTS[4]
