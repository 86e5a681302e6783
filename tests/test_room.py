"""Tables that are too small are followed by such in which there is room."""

from __future__ import annotations

from dataclasses import replace

from tests.rig.packets import config, dns, service
from tests.rig.xdp import SPEC, desired
from xdplb.reconcile import reconcile
from xdplb.room import doubled, next_seed, roomier
from xdplb.tables import Capacity, Tables


def test_seeds_follow_each_other_everywhere_alike() -> None:
    assert next_seed(0) == 0x14057B7EF767814F
    assert len({next_seed(seed) for seed in range(100)}) == 100


def test_what_finds_no_room_finds_it_in_roomier_tables() -> None:
    services = desired(config(service(ring_size=1 << 14), dns()))
    tiny = replace(SPEC, capacity=Capacity(rows_bits=2, slots=64, backends=2))

    wide = roomier(tiny, services)

    assert reconcile(services, Tables(slots=[0] * wide.capacity.slots), wide.capacity, wide.seed)
    assert doubled(wide).capacity.slots == 2 * wide.capacity.slots
