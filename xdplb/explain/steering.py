"""Which slot and which backend a packet should get, as bpf/steer.h decides, and why that one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdplb.contract import CONSTANTS
from xdplb.dataplane.plane import Spec
from xdplb.explain.reading import ERROR, Packet
from xdplb.hashing import flow_name, hash_client, hash_flow, slot_of, words
from xdplb.model import Vip
from xdplb.tables import MOVED, MOVING, SETTLED, ServiceRow, Tables, slot_parts

STATES = {SETTLED: "settled", MOVING: "moving", MOVED: "moved"}
IN_LINE = CONSTANTS["FLOWS_IN_LINE"]
NAME_SHIFT, BORN, CLOSING = (CONSTANTS[f"FLOW_{name}_SHIFT"] for name in ("NAME", "BORN", "CLOSING"))
RING, REMEMBERED, PREVIOUS, NOBODY = "ring", "remembered flow", "previous backend", "nobody"


@dataclass(frozen=True, slots=True)
class Flow:
    """What is remembered of a flow."""

    backend: int
    born: bool
    closing: bool

    def __str__(self) -> str:
        return ("born" if self.born else "learned") + (", closing" if self.closing else "")


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot, and whom a packet of it goes to. `number`: in its ring; backends are indexes, 0 nobody."""

    number: int
    size: int
    state: str
    hash: int
    backend: int
    previous: int
    line: int  # of `flows`
    name: int  # of the flow there
    remembered: Flow | None
    chosen: int
    why: str  # RING, ...
    because: str


def read_flow(word: int) -> Flow:
    """Return what a word of `flows` says."""
    return Flow(word & 0xFFFF, bool(word >> BORN & 1), bool(word >> CLOSING & 1))


def steer(spec: Spec, tables: Tables, flows: Sequence[int], packet: Packet, row: ServiceRow) -> Slot:
    """Return what should become of a packet for this service."""
    vip = Vip(packet.destination, packet.ports[1])
    own = picked = hash_flow(packet.source, packet.ports[0], vip, spec.hash_key)
    if spec.client and any(row.client):
        picked = hash_client(words(packet.source), row.client, spec.hash_key)
    number = slot_of(picked, row.ring_size)
    index, previous, state = slot_parts(tables.slots[row.ring_offset + number])
    line, name = flow_name(own, picked, row.identity, spec.capacity.flows)
    remembered = _find(flows, line, name) if state != SETTLED else None
    chosen, why, because = _choose(tables, packet, (index, previous, state), remembered)
    slot = (number, row.ring_size, STATES[state], picked, index, previous, line, name)
    return Slot(*slot, remembered, chosen, why, because)


def _find(flows: Sequence[int], line: int, name: int) -> Flow | None:
    first = line * (IN_LINE + 1) + 1
    for word in flows[first : first + IN_LINE]:
        if word and word >> NAME_SHIFT == name >> NAME_SHIFT:
            return read_flow(word)
    return None


def _choose(
    tables: Tables, packet: Packet, slot: tuple[int, int, int], remembered: Flow | None
) -> tuple[int, str, str]:
    """As `keep_flow`: backend, why in one word, and in many."""
    index, previous, state = slot
    why = RING if index else NOBODY
    if state == SETTLED:
        return index, why, "the ring's choice for this slot" if index else "the ring has nobody for this slot"
    if packet.opens and packet.kind != ERROR:
        return index, why, "a new connection goes where the ring says"
    if remembered and _is_up(tables, remembered.backend):
        return remembered.backend, REMEMBERED, f"this flow is remembered there ({remembered})"
    lost = "it is remembered for a backend that is down; " if remembered else ""
    if state == MOVING and _is_up(tables, previous):
        return (
            previous,
            PREVIOUS,
            f"{lost}the slot changed its backend a moment ago, and older flows stay where they were",
        )
    if state == MOVING and previous:
        return index, why, f"{lost}the slot's previous backend is down"
    return index, why, f"{lost}nothing is remembered of this flow, so it is the ring's"


def _is_up(tables: Tables, index: int) -> bool:
    row = tables.backends.get(index)
    return row is not None and row.up
