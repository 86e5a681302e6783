"""What a change would do, found out on a copy of the tables: who comes and goes, which slots move, whose flows.

Pure, and by the very functions that make the change. What is not known yet, as the way to a new address, is supposed to
be well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address
from typing import Any

from xdplb.dataplane.fake import Fake
from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredBackend, DesiredService, Health, Hop, Key, Overrides, keys_of
from xdplb.errors import KernelError
from xdplb.leaving import FlowCounts
from xdplb.model import Address, Check, Config
from xdplb.reconcile import NoRoom, needed, reconcile
from xdplb.tables import Change, Tables, entries_written, slot_parts

UNKNOWN = "not known yet"
SEEDS = 8  # attempts to place all VIPs
_SECRET = {"hash_key"}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of backends and the ways to them; `supposed`: of whom nothing is."""

    health: Mapping[Key, Health]
    hops: Mapping[Address, Hop | str]
    supposed: frozenset[Key] = frozenset()


def suppose(before: tuple[Config, Overrides], after: tuple[Config, Overrides], known: Known) -> Known:
    """Return what is known of the backends afterwards; new ones are up and can be reached."""
    was, will = _places(*before), _places(*after)
    health, hops, supposed = dict(known.health), dict(known.hops), set()
    for key, (address, checks) in will.items():
        if address not in hops:
            hops[address] = Hop(0, bytes(6), bytes(6), ip_address("0.0.0.0" if address.version == 4 else "::"))
            supposed.add(key)
        if checks and was.get(key) != will[key]:
            health[key] = Health(True, UNKNOWN)
            supposed.add(key)
    return Known(health, hops, frozenset(supposed))


def _places(config: Config, overrides: Overrides) -> dict[Key, tuple[Address, tuple[Check, ...]]]:
    """Return where each backend is, and how it is probed."""
    return {(service.name, b.name): (b.address, service.checks) for service, b in keys_of(config.services, overrides)}


def compare_settings(before: Config, after: Config) -> list[str]:
    """Return every setting that is another one, but for services' backends: `service.web.ring_size: 1024 -> 2048`."""
    found = [
        *_differences("balancer", before.balancer, after.balancer),
        *_differences("guard", before.guard, after.guard),
        *_differences("metrics", before.metrics, after.metrics),
    ]
    was = {service.name: service for service in before.services}
    for service in after.services:
        if service.name in was:
            found += _differences(f"service.{service.name}", was[service.name], service, but="backends")
    return found


def _differences(key: str, before: Any, after: Any, but: str = "") -> Iterator[str]:
    for name in (item.name for item in fields(before)):
        old, new = getattr(before, name), getattr(after, name)
        if old != new and name != but:
            yield f"{key}.{name}: another one" if name in _SECRET else f"{key}.{name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def plan(
    before: Sequence[DesiredService],
    after: Sequence[DesiredService],
    actual: Tables,
    spec: Spec,
    counts: FlowCounts,
) -> dict[str, Any]:
    """Return what would change between the tables as they are and those of `after`; see docs/api.md."""
    changes, fake = _try(after, actual, spec)
    old, new = _owners(actual), _owners(fake.tables())
    was = {service.name: service for service in before}
    names = {service.name for service in after}
    services = [_added_or_kept(was.get(service.name), service, old, new, counts) for service in after]
    services += [_gone(service, old, counts) for service in before if service.name not in names]
    return {"services": services, "writes": entries_written(changes)}


def _try(after: Sequence[DesiredService], actual: Tables, spec: Spec) -> tuple[list[Change], Fake]:
    """Make the change on a copy, which has more room and other places for VIPs if need be."""
    for attempt in range(SEEDS):
        fake = Fake(replace(spec, seed=spec.seed + attempt))
        fake.services, fake.backends, fake.slots = dict(actual.services), dict(actual.backends), list(actual.slots)
        fake.limits, fake.networks = dict(actual.limits), dict(actual.networks)
        fake.slots += [0] * (spec.capacity.slots - len(fake.slots))
        try:
            changes = reconcile(after, fake.tables(), spec.capacity, fake.spec.seed)
        except NoRoom:
            spec = replace(spec, capacity=spec.capacity.union(needed(after)))
        else:
            fake.apply(changes)
            return changes, fake
    raise KernelError(f"the VIPs found no rows in the service table with {SEEDS} seeds")


def _owners(tables: Tables) -> dict[int, list[int]]:
    """Return the backend of every slot of every ring, all by identity."""
    identities = {index: row.identity for index, row in tables.backends.items()}
    rows = {row.identity: row for row in tables.services.values() if row.ring_size}
    return {
        identity: [
            identities.get(slot_parts(word)[0], 0)
            for word in tables.slots[row.ring_offset : row.ring_offset + row.ring_size]
        ]
        for identity, row in rows.items()
    }


def _added_or_kept(
    was: DesiredService | None,
    service: DesiredService,
    old: Mapping[int, list[int]],
    new: Mapping[int, list[int]],
    counts: FlowCounts,
) -> dict[str, Any]:
    slots, before = new[service.identity], old.get(service.identity, [])
    moved = [slot for slot, owner in enumerate(slots) if before and before[slot * len(before) // len(slots)] != owner]
    losing = {before[slot * len(before) // len(slots)] for slot in moved}
    backends = list(_backends(was.backends if was else (), service.backends))
    going = {b.identity for b in was.backends} - {b.identity for b in service.backends} if was else set()
    return {
        "name": service.name,
        "change": "added" if was is None else "changed" if moved or backends else "kept",
        "slots_moved": len(moved),
        "ring_size": service.ring_size,
        "flows": _flows(losing | going, counts),
        "backends": backends,
    }


def _gone(service: DesiredService, old: Mapping[int, list[int]], counts: FlowCounts) -> dict[str, Any]:
    return {
        "name": service.name,
        "change": "removed",
        "slots_moved": len(old.get(service.identity, ())),
        "ring_size": service.ring_size,
        "flows": _flows({b.identity for b in service.backends}, counts),
        "backends": list(_backends(service.backends, ())),
    }


def _flows(identities: set[int], counts: FlowCounts) -> dict[str, int | None]:
    """Return the remembered flows of these backends, and how many of them are of such as slots still move away from."""
    found = {identity: counts.flows_left(identity) for identity in identities if identity}
    moving = {identity: n for identity, n in found.items() if counts.busy(identity)}
    return {"remembered": _sum(found), "in_transition": _sum(moving)}


def _sum(counted: Mapping[int, int | None]) -> int | None:
    """Return the sum, or None when somebody's are not counted."""
    known = [n for n in counted.values() if n is not None]
    return sum(known) if len(known) == len(counted) else None


def _backends(before: Sequence[DesiredBackend], after: Sequence[DesiredBackend]) -> Iterator[dict[str, str]]:
    """Yield each backend that comes, goes, or has another weight, address or state, with a word of detail."""
    was, will = {b.backend.name: b for b in before}, {b.backend.name: b for b in after}
    for name in [*will, *(name for name in was if name not in will)]:
        old, new = was.get(name), will.get(name)
        if new is None and old is not None:
            yield {"name": name, "change": "removed", "detail": str(old.backend.address)}
        elif old is None and new is not None:
            yield {"name": name, "change": "added", "detail": str(new.backend.address)}
        elif old is not None and new is not None:
            detail = "; ".join(_changed(old, new))
            if detail:
                yield {"name": name, "change": "changed", "detail": detail}


def _changed(old: DesiredBackend, new: DesiredBackend) -> Iterator[str]:
    if old.backend.address != new.backend.address:
        yield f"address {old.backend.address} -> {new.backend.address}"
    if old.backend.weight != new.backend.weight:
        yield f"weight {old.backend.weight} -> {new.backend.weight}"
    if old.state is not new.state:
        yield f"{old.state} -> {new.state} ({new.reason})"
    elif old.serves != new.serves or (old.reason != new.reason and new.state.value == "draining"):
        yield new.reason
