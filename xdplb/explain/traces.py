"""What a packet would leave behind in the tables, in words: flows, fragments, accounts, attempts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.contract import CONSTANTS
from xdplb.dataplane.outcome import Changed, Outcome
from xdplb.explain.steering import NAME_SHIFT, Slot, read_flow
from xdplb.explain.world import World


def traces_of(world: World, slot: Slot | None, outcome: Outcome) -> list[str]:
    """Return a phrase for everything that the packet would change, but for counters of packets."""
    found = [*_flows(world, slot, outcome.changes.get("flows", ()))]
    for change in outcome.changes.get("fragments", ()):
        ports = [int.from_bytes(change.after[at : at + 2], "big") for at in (0, 2)]
        if change.after:
            found.append(f"fragments of this packet that come later go by its ports, {ports[0]} > {ports[1]}")
    if outcome.changes.get("clients"):
        found.append("its client's accounts are charged")
    if outcome.changes.get("limits"):
        found.append("the service's account of new connections is charged")
    if outcome.changes.get("answers"):
        found.append("the answers of this CPU are charged")
    found += _attempts(world, outcome)
    return found


def _flows(world: World, slot: Slot | None, changes: tuple[Changed, ...]) -> Iterator[str]:
    for change in changes:
        for number, before, after in change.words:
            if number == 0:  # where the next look for a place begins
                continue
            ours = slot is not None and (before or after) >> NAME_SHIFT == slot.name >> NAME_SHIFT
            if not after:
                yield "its flow is forgotten"
                continue
            flow = read_flow(after)
            if ours and before:
                yield f"its flow is seen again, for {world.backend(flow.backend)} ({flow})"
            else:
                room = ", in the place of another flow" if before else ""
                yield f"its flow is remembered for {world.backend(flow.backend)}, as {flow}{room}"


def _attempts(world: World, outcome: Outcome) -> Iterator[str]:
    shift = CONSTANTS["ATTEMPT_MOMENT_SHIFT"]
    for change in outcome.changes.get("attempts", ()):
        for _, before, after in change.words:
            index = (after or before) & (1 << shift) - 1
            what = "its SYN waits for its client's ACK" if after else "its client has got an answer"
            yield f"{what}, at {world.backend(index)}"
