"""From what `hold` met to what it means. Pure.

A flow is judged when its backend was up all the time: a backend that is down loses its flows, as it must. Nobody knows
the backend of a flow that got no answer; it is judged too, unless a backend went down at that moment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.lab.outcome import UNKNOWN

AROUND_S = 1.0  # a flow without an answer may have been the lost backend's if it ended so close to the loss


@dataclass(slots=True)
class Judgement:
    """What was met on flows of backends that were up. Events are as `hold` reports them."""

    broken: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)
    stalled: list[dict[str, Any]] = field(default_factory=list)
    lost: int = 0  # failures of flows whose backend was down: not judged
    slow: int = 0  # answers over one RTO without a lost packet: the machine
    retransmits: int = 0
    answers: int = 0
    opened: int = 0
    p99_ms: float = 0.0
    slowest_ms: float = 0.0
    cpu_share: float = 0.0  # of one core, what the clients took

    def faults(self, stalls: bool = True) -> list[str]:
        """Return what speaks against the balancer, a line each; also what stalled if that is asked."""
        kinds = {"broken": self.broken, "another backend": self.changed}
        if stalls:
            kinds["stalled"] = self.stalled
        return [f"{kind}: {_show(events)}" for kind, events in kinds.items() if events]


def judge(lines: Sequence[Mapping[str, Any]], downs: Mapping[str, Sequence[float]]) -> Judgement:
    """Judge a whole report. `downs`: when each backend that was down at some time went down."""
    *seconds, total = lines
    if not total.get("total"):
        raise ValueError("the report has no end")
    found = Judgement()
    for event in (event for second in seconds for event in second["events"]):
        _take(found, event, downs)
    for flows in (total["held"], total["new"]):
        found.p99_ms = max(found.p99_ms, flows["p99_ms"])
        found.slowest_ms = max(found.slowest_ms, flows["slowest_ms"])
        for counts in flows["backends"].values():
            found.answers += counts["answers"]
            found.opened += counts["opened"]
            found.retransmits += counts["retransmits"]
    found.cpu_share = total["cpu_s"] / max(total["seconds"], 1e-9)
    return found


def _take(found: Judgement, event: dict[str, Any], downs: Mapping[str, Sequence[float]]) -> None:
    if event["event"] == "change":
        found.changed.append(event)
    elif _lost(event, downs):
        found.lost += event["event"] == "failure"
    elif event["event"] == "failure":
        found.broken.append(event)
    elif event["retransmits"]:
        found.stalled.append(event)
    else:
        found.slow += 1


def _lost(event: Mapping[str, Any], downs: Mapping[str, Sequence[float]]) -> bool:
    if event["backend"] != UNKNOWN:
        return event["backend"] in downs
    return any(abs(event["at"] - at) < AROUND_S for times in downs.values() for at in times)


def _show(events: Collection[Mapping[str, Any]]) -> str:
    """Say how many there are, and what some of them are."""
    some = [
        f"{e.get('kind', e['event'])} of a {e['flow']} flow of {e['backend']} from {e['source']} "
        f"({e['took_ms']:g} ms, {e['retransmits']} packets again)"
        for e in list(events)[:3]
    ]
    return f"{len(events)}, as {'; '.join(some)}"
