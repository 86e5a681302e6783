"""Records come out of a ring buffer whole and in their order, also over its end; a reader may take a few at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.packets import config, tcp
from tests.rig.xdp import Xdp
from xdplb.contract import CONSTANTS
from xdplb.dataplane.trace import TraceMaps
from xdplb.traced import Filter

FOR_EVER = 1 << 62
SIZE = CONSTANTS["TRACE_PAGES"] * 4096


@pytest.fixture
def maps(traced: Xdp) -> Iterator[TraceMaps]:
    """Everything is traced."""
    traced.serve(config())
    maps = TraceMaps(traced.kernel)
    maps.read(maps.ring.most)
    maps.put_filter(0, Filter(), FOR_EVER)
    yield maps
    maps.clear_filter(0)
    maps.close()


def test_records_come_in_their_order_and_once(traced: Xdp, maps: TraceMaps) -> None:
    sent = [bytes(tcp(port)) for port in range(1000, 1010)]
    for frame in sent:
        traced.run_bytes(frame)

    few, others = maps.read(3), maps.read(100)

    assert [record.arrived for record in few] == sent[:3]
    assert [record.arrived for record in others] == sent[3:]
    assert maps.read(100) == []


def test_a_full_ring_loses_records_and_no_packet_and_then_goes_on_over_its_end(traced: Xdp, maps: TraceMaps) -> None:
    sent, actions = bytes(tcp()), set()
    for count in range(1, 20_000):
        actions.add(traced.run_bytes(sent)[0])
        if count % 100 == 0 and maps.lost(0):
            break
    found = maps.read(maps.ring.most)

    assert len(actions) == 1
    assert len(found) + maps.lost(0) == count
    assert SIZE / 700 < len(found) < SIZE / 500
    for port in range(1000, 1100):  # beginning near the end
        traced.run_bytes(bytes(tcp(port)))
    assert [record.arrived for record in maps.read(200)] == [bytes(tcp(port)) for port in range(1000, 1100)]
