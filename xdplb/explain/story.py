"""One packet's explanation, as a document: `xdplb explain --json` and the API show it, `words` says it. Pure.

What happened is the program's word (`Outcome`); why is told from the tables, and where the two differ that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xdplb.dataplane.outcome import Outcome
from xdplb.explain.causes import WAYS, Causes
from xdplb.explain.expecting import Expected, backend_row, compare, expect
from xdplb.explain.guarding import limits_of
from xdplb.explain.layers import layers_of, mac, protocol_name
from xdplb.explain.making import MACS
from xdplb.explain.places import Places
from xdplb.explain.reading import Packet
from xdplb.explain.steering import NOBODY, Slot
from xdplb.explain.traces import traces_of
from xdplb.explain.world import World
from xdplb.model import State
from xdplb.reasons import REASONS
from xdplb.tables import BackendRow, Way

FORWARDED = "forwarded"


@dataclass(frozen=True, slots=True)
class Arrival:
    """By which interface a packet comes in, and why it would not come here at all, a phrase each."""

    index: int
    name: str
    warnings: tuple[str, ...] = ()
    mac: bytes = bytes(6)  # all zeros: it takes what comes

    def warnings_for(self, frame: bytes) -> list[str]:
        """Return why this frame would not come here."""
        to = frame[:6]
        if to in (self.mac, MACS[:6]) or to[0] & 1 or not any(self.mac):
            return list(self.warnings)
        what = f"it is for {mac(to)}, and {self.name} is {mac(self.mac)}: a NIC drops it, unless it is promiscuous"
        return [*self.warnings, what]

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"name": self.name, "index": self.index}


def tell(world: World, places: Places, frame: bytes, arrival: Arrival, outcome: Outcome) -> dict[str, Any]:
    """Return the explanation of a packet."""
    expected = expect(world, places, frame)
    cause = Causes(world, places, expected, outcome).cause()
    reason = REASONS.get(outcome.reason or "")
    disagreements = compare(world, expected, outcome)
    return {
        "summary": f"{outcome.reason or FORWARDED}: {cause}",
        "action": outcome.action,
        "reason": outcome.reason,
        "cause": cause,
        "fix": reason.fix if reason else None,
        "warnings": arrival.warnings_for(frame),
        "disagreements": disagreements,
        "in": arrival.document(),
        "frame": _frame(frame),
        "flow": _flow(expected.packet) if expected.packet else None,
        "service": _service(world, expected) if expected.found else None,
        "guard": _guard(world, expected, outcome) if expected.found and expected.slot else None,
        "slot": _slot(world, expected.slot) if expected.slot else None,
        "backend": _backend(world, expected, outcome),
        "out": _out(world, expected, outcome, arrival),
        "traces": traces_of(world, expected.slot, outcome),
    }


def _frame(frame: bytes, gue_port: int = 0) -> dict[str, Any]:
    layers = [{"name": name, "text": text} for name, text in layers_of(frame, gue_port)]
    return {"bytes": len(frame), "layers": layers, "hex": frame.hex()}


def _flow(packet: Packet) -> dict[str, Any]:
    return {
        "source": str(packet.source),
        "source_port": packet.ports[0],
        "destination": str(packet.destination),
        "port": packet.ports[1],
        "protocol": protocol_name(packet.protocol).lower(),
        "kind": packet.kind,
        "opens": packet.opens,
        "sender": str(packet.sender),
    }


def _service(world: World, expected: Expected) -> dict[str, Any]:
    assert expected.found
    row = expected.found.row
    return {"name": world.service(row), "vip": expected.found.vip, "matched": expected.found.how, "mtu": row.mtu}


def _guard(world: World, expected: Expected, outcome: Outcome) -> dict[str, Any]:
    packet, found = expected.packet, expected.found
    assert packet
    assert found
    listed = world.names.listed(packet.sender) if world.names.listed else None
    exempt = listed is not None and listed[1] == "allow"
    limits = [] if exempt else limits_of(world, packet, found.row, outcome)
    return {
        "compiled": world.spec.prefixes,
        "prefix": listed[0] if listed else None,
        "verdict": listed[1] if listed else None,
        "known": world.names.listed is not None,
        "limits": [{**limit.document(), "text": str(limit)} for limit in limits],
        "spared": list(outcome.spared),
    }


def _slot(world: World, slot: Slot) -> dict[str, Any]:
    return {
        "number": slot.number,
        "ring_size": slot.size,
        "state": slot.state,
        "hash": f"{slot.hash:016x}",
        "backend": world.backend(slot.backend),
        "previous": world.backend(slot.previous) if slot.previous else None,
        "remembered": f"{world.backend(slot.remembered.backend)}, {slot.remembered}" if slot.remembered else None,
        "why": slot.why,
        "because": slot.because,
    }


def _backend(world: World, expected: Expected, outcome: Outcome) -> dict[str, Any] | None:
    index, row = backend_row(world, expected, outcome)
    if row is None or expected.slot is None or expected.slot.why == NOBODY:
        return None
    desired = world.desired(row)
    notes = []
    if desired and desired.lent_by:
        notes.append(f"service {desired.lent_by} lends it: all of the service's own are down")
    elif desired and desired.serves and desired.state is State.DOWN:
        notes.append("it is down and gets new flows all the same: too few are up, so checks are not believed")
    elif desired and not desired.serves:
        notes.append("it gets no new flows")
    return {
        "name": desired.backend.name if desired else None,
        "address": str(row.address),
        "state": world.health(index),
        "why": expected.slot.why,
        "because": expected.slot.because,
        "notes": notes,
        "way": WAYS[row.way],
        "mtu": row.mtu,
    }


def _out(world: World, expected: Expected, outcome: Outcome, arrival: Arrival) -> dict[str, Any] | None:
    """What leaves, and by which way; None: nothing does."""
    if outcome.action == "drop":
        return None
    _, row = backend_row(world, expected, outcome)
    forwarded = outcome.reason is None and row is not None
    gue_port = row.gue_port if forwarded and row else 0
    to = _way_out(world, row, outcome, arrival) if forwarded and row else _back(outcome, arrival)
    return {**_frame(outcome.frame, gue_port), **to}


def _way_out(world: World, row: BackendRow, outcome: Outcome, arrival: Arrival) -> dict[str, Any]:
    if row.way is Way.LOCAL:
        return {"interface": None, "next_hop": None, "to": "this host's own stack"}
    name = world.interface(row.egress) if outcome.action == "redirect" else arrival.name
    next_hop = mac(outcome.frame[:6])
    return {"interface": name, "next_hop": next_hop, "to": f"{name}, next hop {next_hop}"}


def _back(outcome: Outcome, arrival: Arrival) -> dict[str, Any]:
    if outcome.action == "pass":
        return {"interface": None, "next_hop": None, "to": "this host's own stack, as it came"}
    next_hop = mac(outcome.frame[:6])
    return {"interface": arrival.name, "next_hop": next_hop, "to": f"{arrival.name}, back to {next_hop}"}
