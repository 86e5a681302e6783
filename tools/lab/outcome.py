"""What became of flows, counted by the backend that served them. Pure: no clock, no sockets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNKNOWN = "?"  # the backend of a flow that never got an answer
STEP_S = 1e-4  # how exactly the distribution knows a time


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that came, or what is known of one that did not."""

    backend: str
    took_s: float
    rto_s: float  # what the flow's TCP held for a lost packet's time when it asked
    retransmits: int  # of this flow, since it asked

    @property
    def slow(self) -> bool:
        """It took longer than a lost packet would take: a stall, or a machine that had no time for us."""
        return self.took_s > self.rto_s

    @property
    def stalled(self) -> bool:
        """It was slow, and a packet had to be sent again: no scheduler does that."""
        return self.slow and self.retransmits > 0


@dataclass(slots=True)
class Counts:
    """What was met on the flows of one backend."""

    opened: int = 0  # flows whose first answer came from it
    answers: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    changes: int = 0  # it answered on a flow that another had answered before
    retransmits: int = 0
    over_rto: int = 0
    over_2rto: int = 0
    stalls: int = 0  # those over one RTO with a packet that was sent again

    def take(self, answer: Answer) -> None:
        """Count an answer."""
        self.answers += 1
        self.retransmits += answer.retransmits
        self.over_rto += answer.slow
        self.over_2rto += answer.took_s > 2 * answer.rto_s
        self.stalls += answer.stalled

    def document(self) -> dict[str, Any]:
        """Return it for the report."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name != "failures"}
        return {**counts, "failures": dict(sorted(self.failures.items()))}


class Outcome:
    """Of one kind of flows."""

    def __init__(self) -> None:
        self.backends: defaultdict[str, Counts] = defaultdict(Counts)
        self.times: Counter[int] = Counter()  # in STEP_S
        self.slowest_s = 0.0

    def take(self, answer: Answer, before: str) -> None:
        """Count an answer on a flow that `before` had answered, or nobody yet ("")."""
        counts = self.backends[answer.backend]
        counts.take(answer)
        counts.opened += not before
        counts.changes += before not in ("", answer.backend)
        self.times[round(answer.took_s / STEP_S)] += 1
        self.slowest_s = max(self.slowest_s, answer.took_s)

    def fail(self, kind: str, backend: str, retransmits: int) -> None:
        """Count a flow that ended otherwise than it should."""
        counts = self.backends[backend or UNKNOWN]
        counts.failures[kind] += 1
        counts.retransmits += retransmits

    def document(self) -> dict[str, Any]:
        """Return it for the report."""
        return {
            "p50_ms": self._percentile_ms(0.5),
            "p99_ms": self._percentile_ms(0.99),
            "slowest_ms": round(self.slowest_s * 1e3, 1),
            "backends": {name: counts.document() for name, counts in sorted(self.backends.items())},
        }

    def _percentile_ms(self, share: float) -> float:
        return round(percentile(self.times, share) * STEP_S * 1e3, 1)


def percentile(times: Mapping[int, int], share: float) -> int:
    """Return the least time within which this share of them lies (nearest rank); 0 of none."""
    rank = share * sum(times.values())
    for time in sorted(times):
        rank -= times[time]
        if rank <= 0:
            return time
    return 0


def next_due(now_s: float, every_s: float, chance: float) -> float:
    """Return a point of the next period of `every_s`, where `chance` (from 0 to below 1) says."""
    return (now_s // every_s + 1 + chance) * every_s
