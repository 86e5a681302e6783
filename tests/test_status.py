"""The status document says what the tables and counters say."""

from __future__ import annotations

from tests.rig.packets import BACKENDS4, config
from tests.rig.xdp import SPEC, desired
from xdplb.dataplane.fake import Fake
from xdplb.reconcile import reconcile
from xdplb.status import SlotCounts, count_slots, forwarded_document, services_document
from xdplb.tables import MOVED, MOVING, Traffic, slot_word


def test_slots_are_counted_per_backend_and_sum_up_to_the_ring() -> None:
    fake, services = Fake(SPEC), desired(config())
    fake.apply(reconcile(services, fake.tables(), SPEC.capacity, SPEC.seed))

    slots = count_slots(fake.tables())

    assert sum(slots.of_backend.values()) == services[0].ring_size
    assert slots.moving == {services[0].identity: 0}
    assert set(slots.of_backend) == {b.identity for b in services[0].backends}


def test_slots_that_are_moving_and_have_moved_are_told_apart() -> None:
    fake, services = Fake(SPEC), desired(config())
    fake.apply(reconcile(services, fake.tables(), SPEC.capacity, SPEC.seed))
    tables = fake.tables()
    words = list(tables.slots)
    row = next(r for r in tables.services.values() if r.ring_size)
    backend, other = [*tables.backends][:2]
    for at, state in enumerate((MOVING, MOVED, MOVED)):
        words[row.ring_offset + at] = slot_word(backend, other, state)
    tables.slots = words

    slots = count_slots(tables)

    assert (slots.moving, slots.moved) == ({row.identity: 1}, {row.identity: 2})
    assert sum(slots.of_backend.values()) == row.ring_size


def test_document_names_every_backend_with_its_counters() -> None:
    services = desired(config(), down={BACKENDS4[2].name})
    first = services[0].backends[0].identity

    (web,) = services_document(
        services,
        {first: Traffic(3, 180, 1)},
        SlotCounts({first: 512}, {services[0].identity: 7}, {services[0].identity: 2}),
        {first: 5},
        lambda key: [{"up": True}] if key[0] == services[0].name else [],
    )

    assert (web["moving_slots"], web["moved_slots"]) == (7, 2)
    assert web["vips"] == ["192.0.2.10:80/tcp", "[2001:db8::10]:80/tcp"]
    assert web["backends"][0] == {
        "name": "four11",
        "address": "10.0.11.2",
        "weight": 100,
        "state": "up",
        "serving": True,
        "fallback": None,
        "reason": "",
        "slots": 512,
        "packets": 3,
        "bytes": 180,
        "connections": 1,
        "flows_left": 5,
        "checks": [{"up": True}],
    }
    assert [b["state"] for b in web["backends"]] == ["up", "up", "down"]


def test_forwarded_includes_backends_that_are_gone() -> None:
    assert forwarded_document({1: Traffic(1, 60, 1), 2: Traffic(2, 90, 0)}) == {
        "packets": 3,
        "bytes": 150,
        "connections": 1,
    }
