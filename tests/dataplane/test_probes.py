"""Which backend a mark leads to: numbers that stay, rest before they are another's, and outlive the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.rig.packets import config, service
from tests.rig.xdp import SPEC, desired
from xdplb.contract import CONSTANTS
from xdplb.dataplane import loader
from xdplb.dataplane.kernel import request_for
from xdplb.dataplane.probes import REST_S, ROOM, Probes, Settings, first_mark
from xdplb.errors import KernelError
from xdplb.tables import BackendRow, Way

ROW = BackendRow(bytes(14), ip_address("10.0.2.2"), ip_address("10.0.11.2"), 7, 1)


def rows(*names: int) -> dict[int, BackendRow]:
    return {name: replace(ROW, identity=name) for name in names}


@pytest.fixture
def probes(place: loader.Place) -> Iterator[Probes]:
    place.tunnel.make()
    opened = Probes(place, Settings())
    yield opened
    opened.close()


def test_a_mark_is_a_number_of_ones_own_as_long_as_the_backend_is_there(probes: Probes, place: loader.Place) -> None:
    assert probes.put(rows(1, 2, 3)) == 3
    marks = {name: probes.mark(name) for name in (1, 2, 3)}
    assert len(set(marks.values())) == 3
    assert {mark and mark & ~0xFFFF for mark in marks.values()} == {first_mark(place.name)}
    assert first_mark(place.name) & 0xFF000000 == CONSTANTS["PROBE_MARK"]

    assert probes.put(rows(3, 4, 1)) == 2  # 2 has gone, 4 has come
    assert {name: probes.mark(name) for name in (1, 2, 3)} == {**marks, 2: None}
    assert probes.mark(4) not in marks.values()


def test_only_what_changed_is_written(probes: Probes) -> None:
    wanted = rows(1, 2)
    assert probes.put(wanted) == 2
    assert probes.put(wanted) == 0
    assert probes.put(rows(1, 2)) == 0  # equal ones
    mark = probes.mark(1)
    assert probes.put({**wanted, 1: replace(wanted[1], mtu=1400)}) == 1
    assert probes.mark(1) == mark


def test_a_backend_that_is_this_host_has_no_mark(probes: Probes) -> None:
    assert probes.put({1: replace(ROW, way=Way.LOCAL)}) == 0
    assert probes.mark(1) is None


def test_a_number_rests_before_it_is_anothers(probes: Probes) -> None:
    probes.put(rows(*range(1, ROOM + 1)), now=0.0)
    first = probes.mark(1)
    rest = rows(*range(2, ROOM + 1))
    probes.put(rest, now=1.0)

    with pytest.raises(KernelError, match=r'0 are free for 1 more backends; check fewer .*`through = "direct"`'):
        probes.put({**rest, **rows(ROOM + 1)}, now=REST_S)
    assert probes.mark(ROOM + 1) is None

    probes.put({**rest, **rows(ROOM + 1)}, now=1.0 + REST_S)
    assert probes.mark(ROOM + 1) == first


def test_more_than_there_is_room_for_are_refused_and_nothing_changes(probes: Probes) -> None:
    probes.put(rows(1))
    with pytest.raises(KernelError, match="65,536 rows"):
        probes.put(rows(*range(2, ROOM + 3)))
    assert probes.mark(1) is not None
    assert probes.mark(2) is None


def test_the_next_daemon_finds_every_row_and_writes_nothing(probes: Probes, place: loader.Place) -> None:
    six = replace(ROW, source=ip_address("fd00:2::2"), address=ip_address("fd00:11::2"), way=Way.GUE6, identity=9)
    wanted = {**rows(1, 2, 3), 9: six}
    probes.put(wanted)
    probes.put({name: row for name, row in wanted.items() if name != 2})

    again = Probes(place, Settings())

    assert again.pinned.adopted
    assert {name: again.mark(name) for name in wanted} == {name: probes.mark(name) for name in wanted}
    assert again.put({name: row for name, row in wanted.items() if name != 2}) == 0
    again.close()


def test_another_program_takes_over_the_rows_of_the_old_one(probes: Probes, place: loader.Place) -> None:
    probes.put(rows(1, 2))
    other = Probes(place, Settings(outer_df=False, source4_bits=4))
    assert not other.pinned.adopted
    assert other.put(rows(1, 2)) == 0
    assert list(other.pinned.folder.glob("program_*")) == [other.pinned.program]
    other.close()


def test_what_becomes_of_the_balancers_tables_does_not_touch_them(probes: Probes, place: loader.Place) -> None:
    probes.put(rows(1))
    loader.forget_others(place, loader.obtain(place, request_for(SPEC)))
    again = Probes(place, Settings())
    assert again.pinned.adopted
    assert again.mark(1) == probes.mark(1)
    again.close()


def test_rows_of_the_desired_state_are_taken_as_they_are(probes: Probes) -> None:
    backends = [backend for s in desired(config(service())) for backend in s.backends]
    assert probes.put({b.identity: b.row for b in backends}) == len(backends)
    assert all(probes.mark(b.identity) for b in backends)


def test_ten_thousand_rows_are_quick_and_one_change_is_at_once(probes: Probes) -> None:
    many = rows(*range(1, 10_001))
    began = time.monotonic()
    assert probes.put(many) == 10_000
    took = time.monotonic() - began
    began = time.monotonic()
    assert probes.put({**many, 5: replace(many[5], mtu=1400)}) == 1
    one = time.monotonic() - began
    assert took < 2.0
    assert one < 0.1
