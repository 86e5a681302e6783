"""What must not be lost is found in the new tables: indexes, states of slots, flows, whatever sizes both have."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.rig.packets import BACKENDS4, CLIENT4, VIP4, config, service
from tests.rig.xdp import SPEC, desired
from xdplb import hashing
from xdplb.carry import copy_flows, only_real, room_for, transplant
from xdplb.dataplane.fake import Fake
from xdplb.model import Vip
from xdplb.reconcile import reconcile
from xdplb.tables import Capacity, ClearService, slot_parts

VIP, CLIENT = Vip(ip_address(VIP4), 80), ip_address(CLIENT4)
LINE = 8


def changed() -> Fake:
    """Two backends, one of which is new."""
    fake = Fake(SPEC)
    for number in (1, 2):
        world = desired(config(service(backends=BACKENDS4[:number], ring_size=64)))
        fake.apply(reconcile(world, fake.tables(), SPEC.capacity, SPEC.seed))
    return fake


def test_slots_keep_their_states_and_backends_their_indexes_in_tables_of_any_size_and_seed() -> None:
    old, world = changed(), desired(config(service(backends=BACKENDS4[:2], ring_size=64)))
    spec = replace(SPEC, seed=SPEC.seed + 1, capacity=Capacity(rows_bits=10, slots=1 << 15, backends=512))
    new = Fake(spec)

    puts, taken_for = transplant(old.tables())
    new.apply(puts)
    new.apply(only_real(reconcile(world, taken_for, spec.capacity, spec.seed)))

    words = {word for word in new.slots if word}
    assert words == {word for word in old.slots if word}
    assert {slot_parts(word)[2] for word in words} == {0, 1}
    assert new.backends == old.backends
    assert reconcile(world, new.tables(), spec.capacity, spec.seed) == []
    old_ports = {port: old.steer(CLIENT, port, VIP) for port in range(200)}
    assert {port: new.steer(CLIENT, port, VIP) for port in range(200)} == old_ports


def test_what_the_new_configuration_does_without_is_cleared_on_the_way() -> None:
    old, world = changed(), desired(config(service(backends=BACKENDS4[1:2], ring_size=64)))
    new = Fake(SPEC)
    puts, taken_for = transplant(old.tables())
    new.apply(puts)
    changes = reconcile(world, taken_for, SPEC.capacity, SPEC.seed)
    assert any(isinstance(change, ClearService) for change in changes)
    new.apply(only_real(changes))
    assert len(new.backends) == 1
    assert reconcile(world, new.tables(), SPEC.capacity, SPEC.seed) == []


def test_room_is_what_the_old_tables_fill() -> None:
    old = changed()
    room = room_for(old.tables())
    assert room.slots == len(old.slots)
    assert room.backends > max(old.backends)


def empty(lines: int) -> tuple[list[int], list[int]]:
    return [0] * (lines * LINE), [0] * (lines * LINE)


@pytest.mark.parametrize(("lines", "new_lines"), [(13, 17), (17, 13), (14, 20), (13, 13)])
def test_flows_lie_where_the_program_looks_for_them(lines: int, new_lines: int) -> None:
    lines, new_lines = 1 << lines, 1 << new_lines
    old, new = empty(lines), empty(new_lines)
    wanted = {}
    for port in range(3000):
        flow, born = hashing.hash_flow(CLIENT, port, VIP, 99), port % 2
        line, name = hashing.flow_name(flow, flow, 5, lines)
        place = LINE * line + 1
        while old[born][place]:
            place += 1
        old[born][place] = name | 1 << 16 | 3
        wanted[hashing.flow_name(flow, flow, 5, new_lines)] = old[born][place], born

    assert copy_flows(old, new) == 0
    assert copy_flows(old, new) == 0  # once more finds them there

    assert sum(word >> 16 > 0 for words in new for word in words) == len(wanted)
    for (line, _), (word, born) in wanted.items():
        assert word in new[born][line * LINE + 1 : (line + 1) * LINE]
        assert not born or new[0][line * LINE] & 256  # or nobody would look


def test_flows_that_find_no_place_are_counted() -> None:
    old, new = empty(1 << 14), empty(1 << 13)
    for line in (0, 1):  # both become line 0
        for place in range(1, LINE):
            old[0][line * LINE + place] = (line * 100 + place) << 44 | line << 43 | 1 << 16 | 3
    assert copy_flows(old, new) == 7
