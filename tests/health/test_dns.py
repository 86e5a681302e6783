"""The `dns` check against a real server (dnslib) and against some that lie."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import dnslib
import dnslib.server
import pytest

from tests.rig.datagrams import Answer, ask, closed_port, open_files, server
from xdplb.health.check import ProbeEnded
from xdplb.health.dns import _question, _read
from xdplb.health.kinds import Dns, Kind
from xdplb.model import Check

SILENCE = 0.1  # seconds that a test waits for what never comes
CHECK = Check(kind=Kind.DNS, ask=Dns("www.example.org"))
ZONE = """
www.example.org.    60 A     192.0.2.7
www.example.org.    60 A     192.0.2.8
alias.example.org.  60 CNAME www.example.org.
text.example.org.   60 TXT   "serial=17"
"""


class Zone(dnslib.server.BaseResolver):  # type: ignore[misc]
    """A zone: records, no records of this type, or no such name; and what is told to be refused."""

    def resolve(self, request: dnslib.DNSRecord, handler: object) -> dnslib.DNSRecord:
        reply, asked = request.reply(), request.q
        there = [record for record in dnslib.RR.fromZone(ZONE) if record.rname == asked.qname]
        reply.add_answer(*[record for record in there if dnslib.QTYPE[asked.qtype] == dnslib.QTYPE[record.rtype]])
        if str(asked.qname) == "refused.example.org.":
            reply.header.rcode = dnslib.RCODE.REFUSED
        elif not there:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        return reply


class Short(dnslib.server.DNSHandler):  # type: ignore[misc]
    """Answers by UDP are cut behind so many bytes."""

    udplen = 60


@contextlib.contextmanager
def zone(handler: type = dnslib.server.DNSHandler, tcp: bool = False) -> Iterator[int]:
    """Serve the zone over UDP, and over TCP on the same port if wanted."""
    quiet = dnslib.server.DNSLogger("-request,-reply,-truncated,-error", False)
    udp = dnslib.server.DNSServer(Zone(), "127.0.0.1", 0, handler=handler, logger=quiet)
    port = udp.server.server_address[1]
    servers = [udp]
    if tcp:
        servers.append(dnslib.server.DNSServer(Zone(), "127.0.0.1", port, tcp=True, logger=quiet))
    threads = [threading.Thread(target=one.server.serve_forever, args=(0.01,)) for one in servers]
    for thread in threads:
        thread.start()
    try:
        yield port
    finally:
        for one, thread in zip(servers, threads, strict=True):
            one.server.shutdown()
            one.server.server_close()
            thread.join()


def told(asked: Dns, **how: object) -> tuple[ProbeEnded, list[str]]:
    with zone(**how) as port:  # type: ignore[arg-type]
        ended, steps = asyncio.run(ask(replace(CHECK, ask=asked), port))
    return replace(ended, cause=ended.cause.replace(f"127.0.0.1:{port}", "B")), steps


def test_answers_pass_and_are_shown() -> None:
    ended, steps = told(Dns("www.example.org"))
    assert ended.passed
    assert ended.cause.startswith("dns B: 192.0.2.7, 192.0.2.8 in ")
    assert steps[:3] == ["socket opened", "asked", "received"]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (Dns("www.example.org", "A", r"2\.8$"), "192.0.2.8"),
        (Dns("alias.example.org", "CNAME", "www"), "www.example.org."),
        (Dns("text.example.org", "TXT", "serial=1[0-9]"), '"serial=17"'),
        (Dns("www.example.org", "AAAA"), "no AAAA record of www.example.org"),
    ],
)
def test_what_is_expected_must_be_in_one_answer(asked: Dns, shown: str) -> None:
    ended, _ = told(asked)
    assert ended.passed
    assert ended.cause.startswith(f"dns B: {shown} in ")


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        (Dns("www.example.org", "A", "192.0.2.9"), "'192.0.2.9' is in none of the answers: 192.0.2.7, 192.0.2.8"),
        (Dns("www.example.org", "AAAA", "::"), "there is no AAAA record of www.example.org"),
        (Dns("nobody.example.org"), "NXDOMAIN for nobody.example.org A"),
        (Dns("nobody.example.org", "A", "."), "NXDOMAIN for nobody.example.org A"),
        (Dns("refused.example.org"), "REFUSED for refused.example.org A"),
        (Dns("a..example.org"), "'a..example.org' A cannot be asked: A DNS label is empty."),
    ],
)
def test_errors_and_wrong_answers_fail_by_name(asked: Dns, cause: str) -> None:
    assert told(asked)[0] == ProbeEnded(False, f"dns B: {cause}")


def test_a_truncated_answer_is_asked_again_over_tcp() -> None:
    ended, steps = told(Dns("www.example.org", "A", r"2\.8$"), handler=Short, tcp=True)
    assert ended.passed
    assert ended.cause.startswith("dns B: 192.0.2.8 in ")
    assert "the answer is truncated: asked again over TCP" in steps


def test_a_truncated_answer_without_tcp_fails() -> None:
    ended, _ = told(Dns("www.example.org"), handler=Short)
    assert ended == ProbeEnded(False, "dns B: the answer is truncated, and over TCP: refused")


def reply(data: bytes, *records: str) -> dnslib.DNSRecord:
    answer = dnslib.DNSRecord.parse(data).reply()
    answer.add_answer(*dnslib.RR.fromZone("\n".join(records or ["www.example.org. 60 A 192.0.2.7"])))
    return answer


def wrong_id(data: bytes) -> bytes:
    answer = reply(data)
    answer.header.id ^= 1
    return bytes(answer.pack())


def other_question(data: bytes) -> bytes:
    answer = reply(data)
    answer.questions = [dnslib.DNSQuestion("other.example.org")]
    return bytes(answer.pack())


@pytest.mark.parametrize(
    ("lie", "what"),
    [
        (wrong_id, "has another id"),
        (other_question, "answers another question"),
        (lambda data: data, "is a question"),
        (lambda _: b"", "has another id"),
        (
            lambda data: data[:2] + b"\x81\x80\x00\x01\x00\x40\x00\x00\x00\x00",
            "cannot be read: DNS message is malformed",
        ),
    ],
)
def test_what_is_no_answer_to_this_is_passed_over(lie: Callable[[bytes], bytes], what: str) -> None:
    async def run(answers: Callable[[bytes], Sequence[Answer]], timeout_s: float) -> ProbeEnded:
        async with server(answers) as port:
            ended, _ = await ask(replace(CHECK, timeout_s=timeout_s), port)
            return replace(ended, cause=ended.cause.replace(f"127.0.0.1:{port}", "B"))

    only = asyncio.run(run(lambda data: [Answer(lie(data))], SILENCE))
    assert not only.passed
    assert only.cause.startswith(f"dns B: an answer (what came {what}")
    both = asyncio.run(run(lambda data: [Answer(lie(data)), Answer(bytes(reply(data).pack()), 0.01)], 1))
    assert both.passed


def test_an_error_may_come_without_the_question() -> None:
    async def run() -> ProbeEnded:
        async with server(lambda data: [Answer(data[:2] + b"\x81\x82" + bytes(8))]) as port:
            return (await ask(CHECK, port))[0]

    assert asyncio.run(run()).cause.endswith("SERVFAIL for www.example.org A")


def in_loop(answers: Callable[[bytes], Sequence[Answer]], check: Check, packet_bytes: int = 0) -> ProbeEnded:
    async def run() -> ProbeEnded:
        async with server(answers) as port:
            ended, _ = await ask(check, port, packet_bytes)
            return replace(ended, cause=ended.cause.replace(f"127.0.0.1:{port}", "B"))

    return asyncio.run(run())


def test_a_slow_answer_passes_within_the_timeout_and_not_after_it() -> None:
    def slow(data: bytes) -> list[Answer]:
        return [Answer(bytes(reply(data).pack()), 0.15)]

    assert in_loop(slow, CHECK).passed
    assert not in_loop(slow, replace(CHECK, timeout_s=0.05)).passed
    silent = in_loop(lambda _: [], replace(CHECK, timeout_s=SILENCE))
    assert silent == ProbeEnded(False, "dns B: an answer did not come within 0.1 s")


def test_a_closed_port_is_told_at_once() -> None:
    with closed_port() as port:
        ended, _ = asyncio.run(ask(replace(CHECK, timeout_s=30), port))
    assert ended == ProbeEnded(False, f"dns 127.0.0.1:{port}: refused")


def test_a_full_size_question_fills_the_packet() -> None:
    seen: list[bytes] = []

    def answers(data: bytes) -> list[Answer]:
        seen.append(data)
        return [Answer(bytes(reply(data).pack()))]

    assert in_loop(answers, replace(CHECK, full_size=True), 1500).passed
    assert [len(data) for data in seen] == [44, 1500 - 20 - 8]
    assert dnslib.DNSRecord.parse(seen[1]).q == dnslib.DNSRecord.parse(seen[0]).q


def test_a_server_that_reads_little_still_answers_the_full_size() -> None:
    def little(data: bytes) -> list[Answer]:
        if len(data) <= 512:
            return [Answer(bytes(reply(data).pack()))]
        return [Answer(data[:2] + b"\x81\x81" + bytes(8))]  # FORMERR

    assert in_loop(little, replace(CHECK, full_size=True), 1500).passed


def test_an_mtu_hole_is_told_from_silence() -> None:
    def hole(data: bytes) -> list[Answer]:
        return [Answer(bytes(reply(data).pack()))] if len(data) < 1400 else []

    assert in_loop(hole, replace(CHECK, full_size=True, timeout_s=SILENCE), 1500) == ProbeEnded(
        False, "dns B: packets of 1500 bytes do not get through, small ones do: an answer did not come within 0.1 s"
    )


def cut(data: bytes) -> bytes:
    """Truncate an answer in the middle of its record."""
    answer = reply(data)
    answer.header.tc = 1
    return bytes(answer.pack())[:-3]


@pytest.mark.parametrize(
    ("stream", "cause"),
    [(b"", "closed without one"), (b"\x00\x20half", "closed without one"), (b"\x00\x04none", "has another id")],
)
def test_half_an_answer_over_tcp_fails(stream: bytes, cause: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(46)
        writer.write(stream)
        writer.close()

    async def run() -> ProbeEnded:
        async with (
            server(lambda data: [Answer(cut(data))]) as port,
            await asyncio.start_server(talk, "127.0.0.1", port),
        ):
            return (await ask(CHECK, port))[0]

    ended = asyncio.run(run())
    assert not ended.passed
    assert ended.cause.endswith(cause)


def test_a_cancelled_probe_leaves_nothing_open() -> None:
    async def run() -> None:
        async with server(lambda data: [Answer(data[:2] + b"\x83\x80" + data[4:])]) as port:
            with socket.create_server(("127.0.0.1", port)):  # which accepts, and says nothing
                before = open_files()
                asked = asyncio.create_task(ask(replace(CHECK, timeout_s=30), port))
                while len(open_files()) < len(before) + 2:
                    await asyncio.sleep(0)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
                assert open_files() == before

    asyncio.run(asyncio.wait_for(run(), 5))


def test_not_every_wrong_answer_is_looked_at() -> None:
    async def run() -> ProbeEnded:
        async with server(lambda _: [Answer(b"no")] * 65) as port:
            return (await ask(replace(CHECK, timeout_s=5), port))[0]

    ended = asyncio.run(run())
    assert not ended.passed
    assert ended.cause.endswith(": 64 answers, none of them right: the last has another id")


def harmful(question: bytes, records: int = 250) -> bytes:
    """Return an answer of many records, in which reading each name takes long."""
    name = b"\x01a" * 120
    record = b"\xc0\x0c\x00\x02\x00\x01" + bytes(4) + b"\x00\x02\xc0\x0c"
    head = question[:2] + b"\x84\x00\x00\x01" + records.to_bytes(2) + bytes(4)
    return head + name + b"\x00\x00\x02\x00\x01" + record * records


@pytest.mark.parametrize("answering", [harmful, lambda question: question[:2] + bytes(4095)])
def test_what_is_too_long_is_not_read(answering: Callable[[bytes], bytes]) -> None:
    async def run() -> ProbeEnded:
        async with server(lambda data: [Answer(answering(data))]) as port:
            return (await ask(replace(CHECK, timeout_s=SILENCE), port))[0]

    assert "(what came is too long)" in asyncio.run(run()).cause


def test_others_have_their_turn_while_a_long_answer_is_read() -> None:
    async def run() -> int:
        turns, asked = 0, _question(Dns("a." * 120, "NS"), 1232)
        read = asyncio.create_task(_read(asked, b"id", harmful(b"id", 64)))
        while not read.done():
            turns += 1
            await asyncio.sleep(0.001)
        assert not isinstance(await read, str)
        return turns

    assert asyncio.run(run()) > 2
