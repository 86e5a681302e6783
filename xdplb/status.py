"""The status document: what `xdplb status`, `top` and the API show. Pure; its shape is the API's (docs/api.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from xdplb.desired import DesiredBackend, DesiredService
from xdplb.tables import Tables, Traffic


def count_slots(tables: Tables) -> dict[int, int]:
    """Return how many slots name each backend, by the backend's identity."""
    counts: Counter[int] = Counter()
    for row in {(r.ring_offset, r.ring_size) for r in tables.services.values()}:
        counts.update(tables.slots[row[0] : row[0] + row[1]])
    return {row.identity: counts.get(index, 0) for index, row in tables.backends.items()}


def services_document(
    services: Sequence[DesiredService], traffic: Mapping[int, Traffic], slots: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Return `services` of the status document."""
    return [
        {
            "name": service.name,
            "vips": [str(vip) for vip in service.vips],
            "ring_size": service.ring_size,
            "backends": [_backend(b, traffic.get(b.identity, Traffic()), slots) for b in service.backends],
        }
        for service in services
    ]


def _backend(desired: DesiredBackend, traffic: Traffic, slots: Mapping[int, int]) -> dict[str, Any]:
    return {
        "name": desired.backend.name,
        "address": str(desired.backend.address),
        "weight": desired.backend.weight,
        "state": str(desired.state),
        "reason": desired.reason,
        "slots": slots.get(desired.identity, 0),
        "packets": traffic.packets,
        "bytes": traffic.bytes,
        "connections": traffic.connections,
    }


def forwarded_document(traffic: Mapping[int, Traffic]) -> dict[str, int]:
    """Return `forwarded`: the sum over every backend there ever was."""
    total = sum(traffic.values(), Traffic())
    return {"packets": total.packets, "bytes": total.bytes, "connections": total.connections}
