"""Frames in several buffers (XDP frags): the program sees the first one only, and sends all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from scapy.layers.inet import TCP

from tests.rig.oracle import Oracle
from tests.rig.packets import VIP4, VIP6, config, frame
from tests.rig.writing import checksum
from tests.rig.xdp import SPEC, Xdp
from xdplb.dataplane.syscall import TestRun

FIRST = 200  # bytes in the first buffer


@pytest.fixture(scope="module")
def buffers() -> Iterator[Xdp]:
    """A program that takes such frames."""
    xdp = Xdp(replace(SPEC, frags=True, answer_cost=0), f"test-buffers-{os.getpid()}")
    yield xdp
    xdp.close()


def sent(vip: str, ttl: int = 64) -> bytes:
    """900 bytes of payload that no checksum overlooks."""
    return bytes(
        frame(TCP(dport=80) / bytes(n % 251 for n in range(900)), vip, **{"hlim" if ":" in vip else "ttl": ttl})
    )


@pytest.mark.root
@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_all_buffers_are_sent(buffers: Xdp, vip: str) -> None:
    oracle = Oracle(buffers.kernel.spec)
    oracle.serve(buffers.serve(config()), buffers.kernel.tables())
    expected = oracle.walk(sent(vip))

    assert TestRun(buffers.fd).run_in_buffers(sent(vip), FIRST) == (expected.action, expected.frame)


@pytest.mark.root
@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_errors_quote_the_first_buffer_and_their_checksum_is_right(buffers: Xdp, vip: str) -> None:
    oracle = Oracle(buffers.kernel.spec)
    oracle.serve(buffers.serve(config()), buffers.kernel.tables())

    _, left = TestRun(buffers.fd).run_in_buffers(sent(vip, 1), FIRST)

    headers, quoted = 20 if vip == VIP4 else 40, (FIRST - 14) // 4 * 4
    icmp = left[14 + headers :]
    assert icmp[8:] == sent(vip, 1)[14 : 14 + quoted]
    pseudo = b"" if vip == VIP4 else left[22:54] + len(icmp).to_bytes(4, "big") + b"\0\0\0\x3a"
    assert checksum(pseudo + icmp) == 0
