"""The status document: what `xdplb status`, `top` and the API show. Pure; its shape is the API's (docs/api.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xdplb.desired import DesiredBackend, DesiredService, Key
from xdplb.tables import MOVED, MOVING, Tables, Traffic, slot_parts

SLOTS_AT_ONCE = 1 << 14  # counted without a break: about a millisecond


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """How many slots name each backend, and how many of each service are moving and have moved, by identity."""

    of_backend: dict[int, int]
    moving: dict[int, int]
    moved: dict[int, int]


def count_slots(tables: Tables) -> SlotCounts:
    """Count the slots of all rings."""
    steps = counting_slots(tables)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: SlotCounts = end.value
            return found


def counting_slots(tables: Tables) -> Generator[None, None, SlotCounts]:
    """Do the same in steps, for who has other things to do meanwhile."""
    counts: Counter[int] = Counter()
    moving: dict[int, int] = {}
    moved: dict[int, int] = {}
    for row in {r.identity: r for r in tables.services.values() if r.ring_size}.values():
        words: Counter[int] = Counter()
        for at in range(row.ring_offset, row.ring_offset + row.ring_size, SLOTS_AT_ONCE):
            words.update(tables.slots[at : min(at + SLOTS_AT_ONCE, row.ring_offset + row.ring_size)])
            yield
        states: Counter[int] = Counter()
        for word, number in words.items():
            backend, _, state = slot_parts(word)
            counts[backend] += number
            states[state] += number
        moving[row.identity], moved[row.identity] = states[MOVING], states[MOVED]
        yield
    return SlotCounts({row.identity: counts[index] for index, row in tables.backends.items()}, moving, moved)


def services_document(
    services: Sequence[DesiredService],
    traffic: Mapping[int, Traffic],
    slots: SlotCounts,
    flows: Mapping[int, int],
    checks: Callable[[Key], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Return `services` of the status document."""
    return [
        {
            "name": service.name,
            "vips": [str(vip) for vip in service.vips],
            "forward": str(service.forward),
            "ring_size": service.ring_size,
            "moving_slots": slots.moving.get(service.identity, 0),
            "moved_slots": slots.moved.get(service.identity, 0),
            "backends": [
                {
                    **_backend(b, traffic.get(b.identity, Traffic()), slots.of_backend),
                    "flows_left": flows.get(b.identity, 0),
                    "checks": checks((service.name, b.backend.name)),
                }
                for b in service.backends
            ],
        }
        for service in services
    ]


def _backend(desired: DesiredBackend, traffic: Traffic, slots: Mapping[int, int]) -> dict[str, Any]:
    return {
        "name": desired.backend.name,
        "address": str(desired.backend.address),
        "weight": desired.backend.weight,
        "state": str(desired.state),
        "serving": desired.serves,
        "fallback": desired.lent_by,
        "reason": desired.reason,
        "slots": slots.get(desired.identity, 0),
        "packets": traffic.packets,
        "bytes": traffic.bytes,
        "connections": traffic.connections,
    }


def forwarded_document(traffic: Mapping[int, Traffic]) -> dict[str, int]:
    """Return `forwarded`: the sum over every backend there ever was."""
    sent = traffic.values()
    return {name: sum(getattr(one, name) for one in sent) for name in ("packets", "bytes", "connections")}
