"""Backends that leave: whether their flows are gone, and what breaks when they go before. Pure.

A backend has no flows left when no slot is its own, no slot is still moving away from it (in the learn window, flows
that were silent are not known yet), and none is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xdplb.desired import DesiredBackend, DesiredService, Key, Overrides
from xdplb.status import SlotCounts


class FlowCounts(Protocol):
    """What is known of remembered flows, by a backend's identity."""

    def flows_left(self, identity: int) -> int | None:
        """Return the remembered flows of a backend; None: not counted since its last change."""

    def busy(self, identity: int) -> bool:
        """Whether some slot is moving away from it, so that more of its flows may be found."""


@dataclass(frozen=True, slots=True)
class Flows:
    """The flows of the backends as they are now: `slots` counts those in the tables when somebody asks."""

    counts: FlowCounts
    slots: Callable[[], SlotCounts]

    def gone(self, identity: int) -> bool:
        """Whether a backend has no flow any more; one that is not in the tables never had any."""
        of_backend = self.slots().of_backend
        if identity not in of_backend:
            return True
        return not of_backend[identity] and not self.counts.busy(identity) and self.counts.flows_left(identity) == 0


def backends_of(
    services: Sequence[DesiredService], keys: Sequence[Key]
) -> Iterator[tuple[DesiredService, DesiredBackend]]:
    """Yield these backends with their services, in the order of the keys."""
    there = {(s.name, b.backend.name): (s, b) for s in services for b in s.backends}
    yield from (there[key] for key in keys if key in there)


def removals_over(overrides: Overrides, services: Sequence[DesiredService], flows: Flows, now: float) -> dict[Key, str]:
    """Return the backends that are to go now, and why."""
    over = {key: "its deadline has passed" for key, at in overrides.removing.items() if at <= now}
    waiting = [key for key in overrides.removing if key not in over]
    for service, backend in backends_of(services, waiting) if waiting else ():
        if flows.gone(backend.identity):
            over[service.name, backend.backend.name] = "its flows are gone"
    return over


def next_deadline(overrides: Overrides, since: float) -> float | None:
    """Return the first deadline after a time."""
    times = [at for times in (overrides.deadlines, overrides.removing) for at in times.values() if at > since]
    return min(times, default=None)


def departure(
    service: DesiredService, backend: DesiredBackend, overrides: Overrides, flows: Flows, now: float
) -> dict[str, Any]:
    """Return how far a backend's leaving is, as the API tells it (docs/api.md)."""
    key = (service.name, backend.backend.name)
    deadline = overrides.removing.get(key, overrides.deadlines.get(key))
    return {
        "service": service.name,
        "name": backend.backend.name,
        "state": str(backend.state),
        "reason": backend.reason,
        "flows_left": flows.counts.flows_left(backend.identity),
        "learning": flows.counts.busy(backend.identity),
        "gone": flows.gone(backend.identity),
        "leaving": key in overrides.draining,
        "removing": key in overrides.removing,
        "deadline": deadline,
        "passed": deadline is not None and deadline <= now,
    }


def breaks(service: DesiredService, backend: DesiredBackend, flows: Flows) -> dict[str, Any]:
    """Return what breaks when a backend goes now: its flows if they are known, and its part of the slots."""
    slots: Mapping[int, int] = flows.slots().of_backend
    own = slots.get(backend.identity, 0)
    counted = 0 if backend.identity not in slots else flows.counts.flows_left(backend.identity)
    return {
        "flows": None if own else counted,
        "more": flows.counts.busy(backend.identity),
        "slots": own,
        "ring_size": service.ring_size,
    }
