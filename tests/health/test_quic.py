"""The `quic` check against an aioquic server, and against what stands in its place or in its way."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent

from tests.rig.datagrams import Answer, ask, closed_port, open_files, relay, server
from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Kind, Quic, Tls
from xdplb.health.quic import LONGEST_FIRST, unknown_version
from xdplb.model import Check

SILENCE = 0.2  # seconds that a test waits for what never comes
CHECK = Check(kind=Kind.QUIC, ask=Quic(), tls=Tls("good.example"), timeout_s=3)
NOW = datetime.now(UTC)


class Authority:
    """A certificate authority, and what a server and a client get of it."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.folder = trustme.CA(key_type=trustme.KeyType.ECDSA), folder
        self.file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.file)

    def server(self, name: str, days: int = 90, alpn: str = "h3", names: int = 0) -> QuicConfiguration:
        more = [f"{number}.example" for number in range(names)]
        issued = self.ca.issue_cert(name, *more, not_before=NOW - timedelta(99), not_after=NOW + timedelta(days, 60))
        path = self.folder / f"{name}{days}{names}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        found = QuicConfiguration(is_client=False, alpn_protocols=[alpn])
        found.load_cert_chain(path, path)
        return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def verified(authority: Authority) -> Check:
    return replace(CHECK, tls=Tls("good.example", verify=True, ca_file=authority.file))


class Seen(QuicConnectionProtocol):
    """A server's end of a connection, which keeps what happened to it."""

    events: list[QuicEvent]
    changed: asyncio.Event

    def quic_event_received(self, event: QuicEvent) -> None:
        self.events.append(event)
        self.changed.set()


@contextlib.asynccontextmanager
async def serving(configuration: QuicConfiguration) -> AsyncIterator[tuple[int, type[Seen]]]:
    class Here(Seen):
        events, changed = [], asyncio.Event()

    running = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Here)
    try:
        assert running._transport is not None
        yield running._transport.get_extra_info("sockname")[1], Here
    finally:
        running.close()
        await asyncio.sleep(0)


Passes = Callable[[bytes, bool], bool]


def told(
    configuration: QuicConfiguration, check: Check, passes: Passes = lambda *_: True, packet_bytes: int = 0
) -> ProbeEnded:
    async def run() -> ProbeEnded:
        async with serving(configuration) as (behind, _), relay(behind, passes) as port:
            ended, _ = await ask(check, port, packet_bytes)
            return replace(ended, cause=ended.cause.replace(f"127.0.0.1:{port}", "B"))

    return asyncio.run(run())


def test_a_handshake_passes_and_both_sides_see_its_end(authority: Authority, verified: Check) -> None:
    async def run() -> None:
        async with serving(authority.server("good.example")) as (port, here):
            ended, _ = await ask(verified, port)
            assert ended.passed, ended.cause
            assert ended.cause.startswith(f"quic 127.0.0.1:{port}: h3 in ")
            assert ended.warning == ""
            while not any(isinstance(event, ConnectionTerminated) for event in here.events):
                here.changed.clear()
                await here.changed.wait()
            assert any(isinstance(event, HandshakeCompleted) for event in here.events)
            (closed,) = (event for event in here.events if isinstance(event, ConnectionTerminated))
            assert closed.error_code == 0

    asyncio.run(asyncio.wait_for(run(), 10))


@pytest.mark.parametrize(
    ("name", "days", "cause"),
    [
        ("good.example", -1, f"the certificate of good.example expired on {(NOW - timedelta(1)).date()}"),
        ("other.example", 90, "the certificate is not for good.example"),
    ],
)
def test_a_certificate_that_is_not_good_fails(
    authority: Authority, verified: Check, name: str, days: int, cause: str
) -> None:
    server = authority.server(name, days)
    assert told(server, verified) == ProbeEnded(False, f"quic B: {cause}")


def test_a_certificate_of_an_unknown_authority_fails(authority: Authority, verified: Check, tmp_path: Path) -> None:
    ended = told(Authority(tmp_path).server("good.example"), verified)
    assert not ended.passed
    assert ended.cause.startswith("quic B: the certificate of good.example is not good: unable to get local issuer")
    ended = told(authority.server("good.example"), replace(CHECK, tls=Tls("good.example", verify=True)))
    assert not ended.passed, "the system's authorities know nothing of ours"


def test_without_verify_an_expired_one_is_a_warning(authority: Authority) -> None:
    ended = told(authority.server("other.example", -2), CHECK)
    assert ended.passed
    assert ended.warning.startswith("certificate of good.example ended on ")
    ended = told(authority.server("good.example", 9), CHECK)
    assert re.search("in [89] days$", ended.warning)  # a certificate's times are whole seconds


@pytest.mark.parametrize(
    ("text", "why"), [(None, "no such file or directory"), ("nothing", "holds no certificates (PEM)")]
)
def test_a_file_of_authorities_that_is_none_is_said(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    ended, _ = asyncio.run(ask(replace(CHECK, tls=Tls("a", True, str(path))), 9))
    assert ended == ProbeEnded(False, f"quic 127.0.0.1:9: ca_file {path}: {why}")


def test_a_server_of_another_protocol_fails(authority: Authority) -> None:
    ended = told(authority.server("good.example", alpn="doq"), CHECK)
    assert ended == ProbeEnded(False, "quic B: the server speaks none of the protocols that were offered (ALPN)")
    assert told(authority.server("good.example", alpn="doq"), replace(CHECK, ask=Quic(("h3", "doq")))).passed


def test_a_server_of_another_version_fails(authority: Authority) -> None:
    configuration = authority.server("good.example")
    configuration.supported_versions = [0xFACE0001]
    ended = told(configuration, CHECK)
    assert ended == ProbeEnded(False, "quic B: the server speaks none of our versions of QUIC")


def test_a_server_that_asks_for_a_retry_passes(authority: Authority) -> None:
    async def run() -> ProbeEnded:
        running = await serve("127.0.0.1", 0, configuration=authority.server("good.example"), retry=True)
        assert running._transport is not None
        try:
            return (await ask(CHECK, running._transport.get_extra_info("sockname")[1]))[0]
        finally:
            running.close()

    assert asyncio.run(run()).passed


def test_half_a_handshake_is_told_from_silence(authority: Authority) -> None:
    back: list[bytes] = []

    def only_the_first(data: bytes, is_back: bool) -> bool:
        back.extend([data] if is_back else [])
        return len(back) <= 1

    long = authority.server("good.example", names=99)  # so that the server's first answer takes several datagrams
    half = told(long, replace(CHECK, timeout_s=SILENCE), only_the_first)
    assert half == ProbeEnded(False, "quic B: the end of the handshake did not come within 0.2 s")
    none = told(authority.server("good.example"), replace(CHECK, timeout_s=SILENCE), lambda *_: False)
    assert none == ProbeEnded(False, "quic B: an answer did not come within 0.2 s")


def test_a_lost_datagram_is_sent_again(authority: Authority) -> None:
    seen: list[bytes] = []

    def not_the_first(data: bytes, _: bool) -> bool:
        seen.append(data)
        return len(seen) > 1

    assert told(authority.server("good.example"), CHECK, not_the_first).passed


def test_garbage_is_no_answer() -> None:
    async def run() -> ProbeEnded:
        async with server(
            lambda data: [Answer(b"no"), Answer(b""), Answer(data), Answer(data, elsewhere=True)]
        ) as port:
            return (await ask(replace(CHECK, timeout_s=SILENCE), port))[0]

    assert not asyncio.run(run()).passed


def test_a_closed_port_is_told_at_once() -> None:
    with closed_port() as port:
        ended, _ = asyncio.run(ask(replace(CHECK, timeout_s=30), port))
    assert ended == ProbeEnded(False, f"quic 127.0.0.1:{port}: refused")


def test_a_full_size_handshake_fills_its_first_packet(authority: Authority) -> None:
    sent: list[int] = []

    def passes(data: bytes, back: bool) -> bool:
        sent.extend([] if back else [len(data)])
        return True

    assert told(authority.server("good.example"), replace(CHECK, full_size=True), passes, 1400).passed
    assert sent[0] == 1400 - 20 - 8
    sent.clear()
    assert told(authority.server("good.example"), replace(CHECK, full_size=True), passes, 9000).passed
    assert max(sent) == LONGEST_FIRST
    sent.clear()
    assert told(authority.server("good.example"), CHECK, passes, 1400).passed
    assert max(sent) == 1200


def test_an_mtu_hole_is_told_from_silence(authority: Authority) -> None:
    check = replace(CHECK, full_size=True, timeout_s=0.5)
    ended = told(authority.server("good.example"), check, lambda data, _: len(data) < 1300, 1400)
    assert ended == ProbeEnded(
        False, "quic B: packets of 1400 bytes do not get through, small ones do: an answer did not come within 0.5 s"
    )
    ended = told(authority.server("good.example"), check, lambda *_: False, 1400)
    assert ended == ProbeEnded(False, "quic B: an answer did not come within 0.5 s")


def test_a_way_that_is_too_narrow_for_quic_is_said() -> None:
    ended, _ = asyncio.run(ask(CHECK, 9, 1000))
    assert ended.cause == "quic 127.0.0.1:9: packets of 1000 bytes are too short for QUIC (RFC 9000, 14)"


def test_the_small_packet_is_of_a_version_that_is_kept_free() -> None:
    packet = unknown_version(b"12345678")
    assert len(packet) == 1200
    assert all(byte & 0x0F == 0x0A for byte in packet[1:5])


def test_a_cancelled_probe_leaves_nothing_open(authority: Authority) -> None:
    async def run() -> None:
        async with server(lambda _: []) as port:
            before = open_files()
            asked = asyncio.create_task(ask(replace(CHECK, timeout_s=30), port))
            while open_files() == before:
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            assert open_files() == before

    asyncio.run(asyncio.wait_for(run(), 5))


def test_not_every_datagram_is_looked_at() -> None:
    async def run() -> ProbeEnded:
        async with server(lambda _: [Answer(b"no", n / 1e5) for n in range(257)]) as port:
            return (await ask(Check(kind=Kind.QUIC, timeout_s=5), port))[0]

    ended = asyncio.run(run())
    assert ended.cause.endswith(": 256 datagrams, and the handshake is not over")
