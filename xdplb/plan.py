"""What a change would do, found out on a copy of the tables: who comes and goes, which slots move, whose flows.

Pure, and by the very functions that make the change. What is not known yet, as the way to a new address, is supposed to
be well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredBackend, DesiredService, Health, Hop, Key, Overrides, keys_of
from xdplb.leaving import FlowCounts
from xdplb.model import Address, Check, Config, State
from xdplb.rehearsal import Rehearsal
from xdplb.tables import Tables, Traffic, slot_parts

UNKNOWN = "not known yet"


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


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the tables. `held`: see `Tables`; `per_s`: what each backend is sent in a second.

    `bytes_of` says how much memory the tables of a spec take.
    """

    held: Collection[int] = ()
    per_s: Mapping[int, Traffic] | None = None
    bytes_of: Callable[[Spec], int] | None = None


NO_FACTS = Facts()


def plan(
    before: Sequence[DesiredService],
    after: Sequence[DesiredService],
    actual: Tables,
    spec: Spec,
    counts: FlowCounts,
    wanted: Spec | None = None,
    facts: Facts = NO_FACTS,
) -> dict[str, Any]:
    """Return what would change between the tables as they are and those of `after`; see docs/api.md.

    `wanted`: what the program has to be able to do then; without, what it can do now.
    """
    rehearsal = Rehearsal(spec, actual, facts.held)
    rehearsal.write(after, wanted or spec)
    old, new = owners(actual), owners(rehearsal.tables)
    was = {service.name: service for service in before}
    names = {service.name: service for service in after}
    other_key = rehearsal.spec.hash_key != spec.hash_key
    look = _Look(old, new, counts, facts.per_s, other_key)
    services = [look.at(was.get(service.name), service) for service in after]
    services += [look.at_gone(service) for service in before if service.name not in names]
    return {
        "services": services,
        "writes": rehearsal.writes,
        "program": _program(spec, rehearsal),
        "memory": {name: facts.bytes_of(its) if facts.bytes_of else None for name, its in _specs(spec, rehearsal)},
        "down": left_down(before, after),
        "warnings": list(_warn(was, after, other_key)),
    }


def _specs(spec: Spec, rehearsal: Rehearsal) -> list[tuple[str, Spec]]:
    return [("before", spec), ("after", rehearsal.spec)]


def _program(spec: Spec, rehearsal: Rehearsal) -> dict[str, Any]:
    """Return what becomes of the program and its tables."""
    before, after = spec.features(), rehearsal.spec.features()
    return {
        "recompiled": rehearsal.recompiled,
        "compiled_in": [name for name in after if name not in before],
        "compiled_out": [name for name in before if name not in after],
        "tables_made_anew": rehearsal.remade,
    }


def left_down(before: Sequence[DesiredService], after: Sequence[DesiredService]) -> dict[str, str]:
    """Return the services of which no backend would get new flows, although some does now, or they are new; and why."""
    served = {service.name: any(b.serves for b in service.backends) for service in before}
    found = {}
    for service in after:
        if not any(b.serves for b in service.backends) and served.get(service.name, True):
            few = [f"{b.backend.name} is {b.state} ({b.reason})" for b in service.backends[:3]]
            more = ["..."] if len(service.backends) > 3 else []
            found[service.name] = ", ".join(few + more) or "it has none"
    return found


def _warn(before: Mapping[str, DesiredService], after: Sequence[DesiredService], other_key: bool) -> Iterator[str]:
    """Yield what an operator should know before such a change."""
    if other_key:
        yield "another balancer.hash_key gives nearly every flow another slot: open connections break, in every service"
    for service in after:
        was = before.get(service.name)
        if was and (was.client4, was.client6) != (service.client4, service.client6) and not other_key:
            yield f"service {service.name}: flows are told apart by other bits: they get other slots, and break"
        if was and service.mtu < was.mtu:
            yield f"service {service.name}: packets of more than {service.mtu} bytes do not fit any more"
        believed = sum(b.serves and b.state is State.DOWN for b in service.backends)
        if believed and not (was and any(b.serves and b.state is State.DOWN for b in was.backends)):
            yield f"service {service.name}: too few are up, so {believed} that are down get new flows (panic)"


def owners(tables: Tables) -> dict[int, list[int]]:
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


def moved_slots(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Return the slots whose backend is not that of their flows before; the ring may have another size now."""
    if not before:
        return []
    old, new = len(before), len(after)
    return [slot for slot, owner in enumerate(after) if before[slot * old // new] != owner]


@dataclass(frozen=True, slots=True)
class _Look:
    """Both rings of every service, by identity, and what is known of flows."""

    old: Mapping[int, list[int]]
    new: Mapping[int, list[int]]
    counts: FlowCounts
    per_s: Mapping[int, Traffic] | None
    other_key: bool

    def at(self, was: DesiredService | None, service: DesiredService) -> dict[str, Any]:
        """Return what becomes of a service that stays or comes."""
        slots, before = self.new[service.identity], self.old.get(service.identity, [])
        moved = moved_slots(before, slots)
        losing = Counter(before[slot * len(before) // len(slots)] for slot in moved)
        backends = list(_backends(was.backends if was else (), service.backends))
        going = {b.identity for b in was.backends} - {b.identity for b in service.backends} if was else set()
        rehashed = bool(before) and (self.other_key or bool(was and _clients(was) != _clients(service)))
        parts = {identity: n / len(slots) * len(before) for identity, n in losing.items()}  # in slots of the old ring
        return {
            "name": service.name,
            "change": "added" if was is None else "changed" if moved or backends or rehashed else "kept",
            "slots_moved": len(moved),
            "ring_size": service.ring_size,
            "share": _strangers(before, slots) if rehashed else len(moved) / service.ring_size,
            "flows": self._flows(losing.keys() | going, before, parts),
            "stay": not rehashed and service.learn_window_s > 0,
            "backends": backends,
        }

    def at_gone(self, service: DesiredService) -> dict[str, Any]:
        """Return what becomes of a service that goes."""
        before = self.old.get(service.identity, [])
        return {
            "name": service.name,
            "change": "removed",
            "slots_moved": len(before),
            "ring_size": service.ring_size,
            "share": 1.0,
            "flows": self._flows({b.identity for b in service.backends}, before, Counter(before)),
            "stay": False,
            "backends": list(_backends(service.backends, ())),
        }

    def _flows(self, identities: set[int], before: Sequence[int], parts: Mapping[int, float]) -> dict[str, Any]:
        """Return the remembered flows of these backends, how many are of such as slots still move away from, and rates.

        Rates are measured for backends, and taken by the part of its slots that a backend loses.
        """
        found = {identity: self.counts.flows_left(identity) for identity in identities if identity}
        moving = {identity: n for identity, n in found.items() if self.counts.busy(identity)}
        rates: dict[str, float | None] = {"connections_per_s": None, "packets_per_s": None}
        if self.per_s is not None:
            of, sent = Counter(before), {identity: self.per_s.get(identity, Traffic()) for identity in parts}
            taken = {identity: part / of[identity] for identity, part in parts.items()}
            rates["connections_per_s"] = round(sum(sent[i].connections * part for i, part in taken.items()), 1)
            rates["packets_per_s"] = round(sum(sent[i].packets * part for i, part in taken.items()), 1)
        return {"remembered": _sum(found), "in_transition": _sum(moving), **rates}


def _clients(service: DesiredService) -> tuple[tuple[int, int], tuple[int, int]]:
    return service.client4, service.client6


def _strangers(before: Sequence[int], after: Sequence[int]) -> float:
    """Return the share of flows that get another backend when each gets another slot, whichever it is."""
    old, new = Counter(before), Counter(after)
    return 1 - sum(n * new[identity] for identity, n in old.items()) / (len(before) * len(after))


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
