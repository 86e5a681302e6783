"""The shared raw socket: who else listens hears nothing of ours, and numbers do not meet."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from tests.rig.datagrams import open_files
from xdplb.health.echoes import Echoes, _Waiting, checksum, shared
from xdplb.health.probe import Target

TARGETS = {4: Target(ip_address("127.0.0.1"), 0), 6: Target(ip_address("::1"), 0)}
both = pytest.mark.parametrize("version", [4, 6])


def test_the_checksum_is_that_of_the_internet() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D  # RFC 1071, 3
    assert checksum(bytes.fromhex("0001f203f4f5f6f7220d")) == 0
    assert checksum(b"\xff" * 4000) == 0


@pytest.mark.root
@both
def test_answers_to_others_are_left_in_the_kernel(version: int) -> None:
    async def run() -> None:
        own, other = Echoes(TARGETS[version]), Echoes(TARGETS[version])
        try:
            asyncio.get_running_loop().remove_reader(other._socket)
            assert await own.echo(TARGETS[version], 64) is None
            with pytest.raises(BlockingIOError):
                other._socket.recv(100)
        finally:
            own.close()
            other.close()

    asyncio.run(asyncio.wait_for(run(), 5))


@pytest.mark.root
@both
def test_the_sequence_goes_round_past_those_that_wait(version: int) -> None:
    async def run() -> None:
        with shared(TARGETS[version]) as echoes:
            echoes._next = 0xFFFE
            answers = [echoes.echo(TARGETS[version], 64) for _ in range(3)]
            assert await asyncio.gather(*answers) == [None] * 3
            assert not echoes._waiting
            nobody = _Waiting(b"", b"", asyncio.get_running_loop().create_future())
            echoes._waiting = dict.fromkeys(range(1 << 16), nobody)
            with pytest.raises(OSError, match="65536 other echoes are under way"):
                await echoes.echo(TARGETS[version], 64)
            echoes._waiting = {}

    asyncio.run(asyncio.wait_for(run(), 5))


@pytest.mark.root
def test_the_socket_is_open_while_somebody_uses_it() -> None:
    async def run() -> None:
        before = open_files()
        with shared(TARGETS[4]) as first, shared(TARGETS[4]) as second, shared(TARGETS[6]) as other:
            assert first is second
            assert other is not first
            assert len(open_files()) == len(before) + 2
        assert open_files() == before

    asyncio.run(run())
