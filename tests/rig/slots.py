"""The rule that keeps connections whole, in its shortest form: one ring, its slots' states, and every flow by itself.

A model to compare with: no hash, no table that fills up, no words. Flows and backends are whatever can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field

Backend = str
Flow = Hashable


@dataclass(slots=True)
class Slot:
    """One slot: who has it, who had it, and what may still live elsewhere."""

    owner: Backend | None
    previous: Backend | None = None
    state: str = "settled"
    until: float = 0.0


@dataclass(slots=True)
class Model:
    """A balancer with one service. `slot_of` says which slot a flow falls into."""

    slot_of: Callable[[Flow], int]
    window: float
    slots: list[Slot]
    up: set[Backend] = field(default_factory=set)
    known: set[Backend] = field(default_factory=set)
    born: dict[Flow, Backend] = field(default_factory=dict)
    learned: dict[Flow, Backend] = field(default_factory=dict)

    def change(self, owners: Sequence[Backend | None], known: Collection[Backend], up: Collection[Backend]) -> None:
        """Take another ring, other backends, and who of them is up; time does not pass."""
        self.known, self.up = set(known), set(up)
        for slot, owner in zip(self.slots, owners, strict=True):
            if owner != slot.owner:
                before = slot.previous if slot.state == "moving" else slot.owner
                if slot.state == "settled" and before not in self.known:
                    slot.owner = owner  # nobody had it, or who had it is gone: there is nothing to protect
                else:
                    slot.owner, slot.previous, slot.state, slot.until = owner, before, "moving", self.window
            if slot.previous not in self.known:
                slot.previous = None

    def steer(self, flow: Flow, opens: bool) -> Backend | None:
        """Return where a packet goes."""
        slot = self.slots[self.slot_of(flow)]
        if slot.state == "settled":
            return slot.owner
        if opens:
            self.born.pop(flow, None)
            self.learned.pop(flow, None)
            if slot.state == "moving" and slot.owner is not None:
                self.born[flow] = slot.owner
            return slot.owner
        kept = self.born.get(flow, self.learned.get(flow))
        if kept in self.up:
            return kept
        if slot.state == "moved" or slot.previous not in self.up:
            return slot.owner
        self.learned[flow] = slot.previous
        return slot.previous

    def wait(self, seconds: float) -> None:
        """Let time pass: learn windows end."""
        for slot in self.slots:
            slot.until -= seconds
            if slot.state == "moving" and slot.until <= 0:
                slot.state = "moved"

    def sweep(self) -> None:
        """Forget what the ring says anyway and who is gone; settle slots with nothing left."""
        left = set()
        for flows in (self.born, self.learned):
            for flow, backend in list(flows.items()):
                slot = self.slots[self.slot_of(flow)]
                same = slot.state == "moved" and backend == slot.owner
                if slot.state == "settled" or same or backend not in self.known:
                    del flows[flow]
                else:
                    left.add(self.slot_of(flow))
        for number, slot in enumerate(self.slots):
            if slot.state == "moved" and number not in left:
                slot.state, slot.previous = "settled", None
