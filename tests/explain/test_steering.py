"""Which backend a packet should get, and why that one: as the fake decides, too."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.rig.explaining import world
from tests.rig.packets import CLIENT4, VIP4, tcp
from xdplb.contract import CONSTANTS
from xdplb.explain.expecting import expect
from xdplb.explain.places import Places
from xdplb.explain.steering import NOBODY, PREVIOUS, REMEMBERED, RING, Slot
from xdplb.explain.world import World
from xdplb.hashing import hash_flow, slot_of
from xdplb.model import Vip

BORN = 1 << CONSTANTS["FLOW_BORN_SHIFT"]


def slot(of: World, port: int, flags: str) -> Slot:
    found = expect(of, Places(of.spec, of.tables), bytes(tcp(port, flags=flags))).slot
    assert found
    return found


def moving_port(of: World) -> int:
    """A client's port whose slot is moving from one backend that is up to another."""
    return next(port for port in range(4000, 5000) if slot(of, port, "A").state == "moving")


@pytest.fixture
def changed() -> World:
    """A backend has come back a moment ago: slots are moving to it."""
    return world(before={"four11"})


def test_a_settled_slot_is_the_rings() -> None:
    found = slot(world(), 4000, "A")

    number = slot_of(hash_flow(ip_address(CLIENT4), 4000, Vip(ip_address(VIP4), 80), world().spec.hash_key), found.size)
    assert (found.number, found.state, found.why, found.chosen) == (number, "settled", RING, found.backend)


def test_in_a_moving_slot_older_flows_stay(changed: World) -> None:
    port = moving_port(changed)
    old, new = slot(changed, port, "A"), slot(changed, port, "S")

    assert (old.why, old.chosen) == (PREVIOUS, old.previous)
    assert (new.why, new.chosen) == (RING, new.backend)
    assert new.because == "a new connection goes where the ring says"
    assert changed.backend(new.backend) == "four11 (10.0.11.2)"


def test_a_remembered_flow_stays_where_it_is(changed: World) -> None:
    port = moving_port(changed)
    before = slot(changed, port, "A")
    changed.flows[8 * before.line + 3] = before.name | BORN | before.backend  # type: ignore[index]

    found = slot(changed, port, "A")

    assert (found.why, found.chosen) == (REMEMBERED, before.backend)
    assert found.because == "this flow is remembered there (born)"


def test_a_previous_backend_that_is_down_counts_for_nothing() -> None:
    of = world(before=set(), down={"four11"})
    found = slot(of, moving_port(of), "A")

    assert (found.why, found.chosen, found.because) == (RING, found.backend, "the slot's previous backend is down")


def test_without_a_backend_that_is_up_there_is_nobody() -> None:
    found = slot(world(down={"four11", "four12", "four13"}), 4000, "S")

    assert (found.why, found.chosen) == (NOBODY, 0)
