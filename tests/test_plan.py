"""A plan says what then happens, and nothing happens by it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from tests.rig.packets import BACKENDS4, BACKENDS6, config, dns, hop, service
from tests.rig.xdp import SPEC, desired
from tests.test_leaving import Counted
from xdplb.dataplane.fake import Fake
from xdplb.desired import DesiredService, Health, Overrides, desire
from xdplb.model import Backend, Config
from xdplb.plan import Known, plan, suppose
from xdplb.reconcile import reconcile
from xdplb.tables import PutSlots, entries_written, slot_parts

ONE, TWO, THREE = BACKENDS4


def filled(services: tuple[DesiredService, ...]) -> Fake:
    """Tables that are as these services want them."""
    fake = Fake(SPEC)
    fake.apply(reconcile(services, fake.tables(), SPEC.capacity, SPEC.seed))
    return fake


def of(document: dict[str, Any], name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = next(s for s in document["services"] if s["name"] == name)
    return found


@pytest.mark.parametrize(
    "after",
    [
        config(service(backends=[ONE, TWO])),
        config(service(backends=[*BACKENDS4, *BACKENDS6])),
        config(service(backends=[ONE, TWO, replace(THREE, weight=300)])),
        config(service(), dns()),
    ],
    ids=["removed", "added", "heavier", "another service"],
)
def test_it_counts_the_slots_and_entries_that_the_change_then_writes(after: Config) -> None:
    before, later = desired(config()), desired(after)
    fake = filled(before)
    as_it_was = deepcopy(fake.tables())

    found = plan(before, later, fake.tables(), SPEC, Counted())

    assert fake.tables() == as_it_was
    changes = reconcile(later, fake.tables(), SPEC.capacity, SPEC.seed)
    web = [c for c in changes if isinstance(c, PutSlots) and c.service == before[0].identity]
    moved = [slot for c in web for slot, word in c.entries.items() if slot_parts(word)[0] != fake.tables().slots[slot]]
    assert (of(found)["slots_moved"], of(found)["ring_size"]) == (len(moved), 1024)
    assert found["writes"] == entries_written(changes)


def test_who_comes_goes_or_is_another_is_named() -> None:
    before = desired(config(service(), dns()))
    new = Backend("new", ip_address("10.0.99.2"))
    after = desired(config(service(backends=[replace(ONE, weight=7), TWO, new])), down={TWO.name})

    found = plan(before, after, filled(before).tables(), SPEC, Counted())

    assert of(found)["change"] == "changed"
    assert of(found)["backends"] == [
        {"name": ONE.name, "change": "changed", "detail": "weight 100 -> 7"},
        {"name": TWO.name, "change": "changed", "detail": "up -> down ()"},
        {"name": "new", "change": "added", "detail": "10.0.99.2"},
        {"name": THREE.name, "change": "removed", "detail": str(THREE.address)},
    ]
    assert of(found, "dns")["change"] == "removed"
    assert len(of(found, "dns")["backends"]) == 3


def test_nothing_to_do_is_said() -> None:
    before = desired(config(service(), dns()))
    found = plan(before, before, filled(before).tables(), SPEC, Counted())
    assert [(s["change"], s["slots_moved"]) for s in found["services"]] == [("kept", 0), ("kept", 0)]
    assert found["writes"] == 0


def test_flows_are_those_of_who_loses_slots_or_goes() -> None:
    before = desired(config())
    first, second, third = (b.identity for b in before[0].backends)
    counts = Counted({first: 5, second: 70, third: 900}, {first})
    tables = filled(before).tables()

    drained = plan(before, desired(config(), down={ONE.name}), tables, SPEC, counts)
    removed = plan(before, desired(config(service(backends=[ONE, THREE]))), tables, SPEC, counts)

    unmeasured = {"connections_per_s": None, "packets_per_s": None}
    assert of(drained)["flows"] == {"remembered": 5, "in_transition": 5, **unmeasured}
    assert of(removed)["flows"]["remembered"] >= 70
    assert of(plan(before, desired(config(), down={ONE.name}), tables, SPEC, Counted()))["flows"] == {
        "remembered": None,
        "in_transition": 0,
        **unmeasured,
    }


def test_a_ring_that_grows_is_compared_by_where_flows_are_in_it() -> None:
    before = desired(config(service(backends=[ONE, TWO])))
    after = desired(config(service(backends=[ONE, TWO], ring_size=4096)))
    small, large = filled(before).slots[:1024], filled(after).slots[:4096]

    found = plan(before, after, filled(before).tables(), SPEC, Counted())

    moved = sum(small[slot // 4] != owner for slot, owner in enumerate(large))
    assert (of(found)["slots_moved"], of(found)["ring_size"]) == (moved, 4096)


def test_who_goes_has_flows_also_when_its_slots_are_gone_before() -> None:
    before = desired(config(), down={ONE.name})
    counts = Counted({b.identity: n for n, b in enumerate(before[0].backends, 5)})
    tables = filled(before).tables()
    found = plan(before, desired(config(service(backends=[TWO, THREE]))), tables, SPEC, counts)
    assert of(found)["flows"]["remembered"] in (5, 5 + 6, 5 + 7, 5 + 6 + 7)


def test_a_change_that_needs_more_room_is_planned_in_larger_tables() -> None:
    before = desired(config())
    wide = config(service(ring_size=1 << 19), dns())
    found = plan(before, desired(wide), filled(before).tables(), SPEC, Counted())
    assert of(found)["ring_size"] == 1 << 19
    assert of(found, "dns")["change"] == "added"


def test_what_is_not_known_is_supposed_to_be_well_and_what_is_known_is_believed() -> None:
    conf, new = config(service(backends=[ONE, TWO])), Backend("new", ip_address("10.0.99.2"))
    moved = replace(TWO, address=ip_address("10.0.98.2"))
    after = config(service(backends=[ONE, moved, new, BACKENDS6[0]]))
    known = Known(
        {("web", ONE.name): Health(False, "refused"), ("web", TWO.name): Health(False, "refused")},
        {ONE.address: hop(4), TWO.address: hop(4), new.address: "no route"},
    )

    found = suppose((conf, Overrides()), (after, Overrides()), known)

    (web,) = desire(after, Overrides(), found.health, found.hops)
    assert [str(b.state) for b in web.backends] == ["down", "up", "unreachable", "up"]
    assert found.supposed == {("web", moved.name), ("web", "new"), ("web", BACKENDS6[0].name)}
    assert suppose((conf, Overrides()), (conf, Overrides()), known) == known
