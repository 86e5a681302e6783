"""The status document says what the tables and counters say."""

from __future__ import annotations

from tests.rig.packets import BACKENDS4, config
from tests.rig.xdp import SPEC, desired
from xdplb.dataplane.fake import Fake
from xdplb.reconcile import reconcile
from xdplb.status import SlotCounts, count_slots, forwarded_document, services_document
from xdplb.tables import Traffic


def test_slots_are_counted_per_backend_and_sum_up_to_the_ring() -> None:
    fake, services = Fake(SPEC), desired(config())
    fake.apply(reconcile(services, fake.tables(), SPEC.capacity, SPEC.seed))

    slots = count_slots(fake.tables())

    assert sum(slots.of_backend.values()) == services[0].ring_size
    assert slots.moving == {services[0].identity: 0}
    assert set(slots.of_backend) == {b.identity for b in services[0].backends}


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
