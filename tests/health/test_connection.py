"""Connections of probes: what was waited for is said, nothing stays behind, with TLS and without."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from dataclasses import replace

import pytest

from tests.rig.servers import NAME, Authority, black_hole, serve, silent, target
from xdplb.health.connection import SecureConnection, open_connection
from xdplb.health.kinds import Kind, Tls
from xdplb.health.probe import ProbeFailed, Steps
from xdplb.model import Check

TCP_CLOSE = 7  # linux/tcp_states.h
TLS = Check(kind=Kind.TLS, tls=Tls(NAME), timeout_s=0.1)


def ask_for_ever(check: Check, port: int, data: bytes = b"?", packet_bytes: int = 0) -> Steps:
    """Send, and wait for what does not come; return what is known then."""
    steps = Steps()

    async def run() -> None:
        async with asyncio.timeout(check.timeout_s), open_connection(check, target(port, packet_bytes), steps) as to:
            await to.send(data)
            steps.waiting_for = "an answer"
            await to.receive()

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    return steps


def test_a_timeout_says_what_was_waited_for() -> None:
    with black_hole() as port:
        assert ask_for_ever(Check(timeout_s=0.1), port).waiting_for == "a connection"
    with serve(silent) as port:
        assert ask_for_ever(TLS, port).waiting_for == "the end of the TLS handshake"
        assert ask_for_ever(Check(timeout_s=0.1), port).waiting_for == "an answer"


@pytest.mark.root
def test_bytes_that_do_not_arrive_are_what_is_missing() -> None:
    with serve(silent, longest=1000) as port:
        check = Check(timeout_s=0.1, full_size=True)
        missing = "an acknowledgement of the 1500 bytes sent"
        hole = " (packets of 1300 bytes probably do not get through)"
        assert ask_for_ever(check, port, bytes(1500), packet_bytes=1300).waiting_for == missing + hole
        assert ask_for_ever(Check(timeout_s=0.1), port, bytes(1500)).waiting_for == missing
        unfilled = replace(check, full_size=False)
        assert ask_for_ever(unfilled, port, bytes(1500), packet_bytes=1300).waiting_for == missing
        assert ask_for_ever(check, port, bytes(100), packet_bytes=1300).waiting_for == "an answer"
    with serve(silent, longest=100) as port:  # short packets get lost, too: their length is not to blame
        short = ask_for_ever(check, port, bytes(200), packet_bytes=1300).waiting_for
    assert short == "an acknowledgement of the 200 bytes sent"


@pytest.mark.root
def test_with_tls_too_bytes_that_do_not_arrive_are_what_is_missing(authority: Authority) -> None:
    with serve(silent, authority.context(), longest=1000) as port:
        check = Check(kind=Kind.HTTPS, timeout_s=0.5, full_size=True)
        waited = ask_for_ever(check, port, bytes(1500), packet_bytes=1300).waiting_for
    assert waited.startswith("an acknowledgement of the 1")
    assert waited.endswith("(packets of 1300 bytes probably do not get through)")


def test_the_length_of_a_segment_is_that_of_a_full_packet() -> None:
    async def run(port: int) -> int:
        async with open_connection(Check(), target(port, 1500), Steps()) as to:
            return to.segment_bytes

    with serve(silent) as port:
        assert asyncio.run(run(port)) in (1460, 1448)  # with time stamps, TCP's header is 12 bytes longer


@pytest.mark.parametrize("check", [TLS, Check(timeout_s=0.1)], ids=["tls", "plain"])
def test_timeouts_leave_no_socket_and_nothing_that_waits(check: Check) -> None:
    async def run(port: int) -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        selector = loop._selector  # type: ignore[attr-defined]
        before = len(os.listdir("/proc/self/fd")), len(selector.get_map())

        async def one() -> None:
            async with asyncio.timeout(0.05), open_connection(check, target(port), Steps()) as to:
                await to.receive()

        ends = await asyncio.gather(*(one() for _ in range(20)), return_exceptions=True)
        assert all(isinstance(end, TimeoutError) for end in ends)
        after = len(os.listdir("/proc/self/fd")), len(selector.get_map())
        return before[0] - after[0], before[1] - after[1]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert asyncio.run(run(listener.getsockname()[1])) == (0, 0)


def test_the_server_sees_a_reset_so_that_no_time_wait_stays(authority: Authority) -> None:
    states = []

    def handle(accepted: socket.socket) -> None:
        accepted.sendall(accepted.recv(1))
        accepted.recv(1)
        states.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])

    async def run(port: int) -> None:
        async with open_connection(TLS, target(port), Steps()) as to:
            await to.send(b"x")
            await to.receive()

    with serve(handle, authority.context()) as port:
        asyncio.run(run(port))
    assert states == [TCP_CLOSE]  # a close with an end would be TCP_CLOSE_WAIT, 8


def test_what_was_sent_in_tls_comes_back_in_pieces_of_any_length(authority: Authority) -> None:
    def echo(accepted: socket.socket) -> None:
        while data := accepted.recv(65536):
            accepted.sendall(data)

    async def run(port: int) -> bytes:
        found = b""
        async with open_connection(TLS, target(port), Steps()) as to:
            assert isinstance(to, SecureConnection)
            await to.send(bytes(range(256)) * 200)
            while len(found) < 51200:
                found += await to.receive()
        return found

    with serve(echo, authority.context()) as port:
        assert asyncio.run(run(port)) == bytes(range(256)) * 200


def test_an_end_of_the_server_is_an_end_with_or_without_goodbye(authority: Authority) -> None:
    async def run(port: int) -> bytes:
        async with open_connection(TLS, target(port), Steps()) as to:
            await to.send(b"x")
            return await to.receive()

    def politely(accepted: socket.socket) -> None:
        assert isinstance(accepted, ssl.SSLSocket)
        accepted.recv(1)
        accepted.unwrap()

    with serve(politely, authority.context()) as port:
        assert asyncio.run(run(port)) == b""

    def rudely(accepted: socket.socket) -> None:
        accepted.recv(1)

    with serve(rudely, authority.context()) as port:
        assert asyncio.run(run(port)) == b""


def test_the_handshake_ends_with_the_first_bytes_of_the_talk_in_one_packet(authority: Authority) -> None:
    steps = Steps()

    async def run(port: int) -> None:
        async with open_connection(TLS, target(port), steps) as to:
            await to.send(b"x")

    with serve(silent, authority.context()) as port:
        asyncio.run(run(port))
    assert [step.what for step in steps.steps] == [
        "connected",
        "TLS handshake: TLSv1.3, TLS_AES_256_GCM_SHA384",
        "sent",
    ]


@pytest.mark.parametrize("secure", [True, False])
def test_others_have_their_turn_and_there_is_an_end_while_a_server_sends_without_pause(
    authority: Authority, secure: bool
) -> None:
    async def run(port: int) -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async with open_connection(TLS if secure else Check(), target(port), Steps()) as to:
            await to.send(b"?")
            before, reads = turns, 0
            with pytest.raises(ProbeFailed, match="sends more than 262144 bytes"):  # noqa: PT012 (the last read)
                while await to.receive():
                    reads += 1
        task.cancel()
        return turns - before - reads

    def endless(accepted: socket.socket) -> None:
        while True:
            accepted.sendall(bytes(65536))

    with serve(endless, authority.context() if secure else None) as port:
        assert asyncio.run(run(port)) >= 0
