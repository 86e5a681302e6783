"""Counters that have names: how fast each grows, now and in the last minutes. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

HISTORY = 120  # samples kept for a sparkline


def per_second(before: int | None, after: int | None, elapsed_s: float) -> float | None:
    """Return a counter's rate, None where it cannot be known."""
    if before is None or after is None or after < before or elapsed_s <= 0:
        return None
    return (after - before) / elapsed_s


@dataclass(slots=True)
class Trends:
    """Takes counters one time after the other."""

    last: Mapping[str, int | None] = field(default_factory=dict)
    histories: dict[str, deque[float]] = field(default_factory=dict)

    def take(self, counters: Mapping[str, int | None], elapsed_s: float) -> dict[str, float | None]:
        """Return each one's rate. A counter that vanished or began anew has none, and its past is kept."""
        rates = {name: per_second(self.last.get(name), total, elapsed_s) for name, total in counters.items()}
        self.last = dict(counters)
        for name, rate in rates.items():
            history = self.histories.setdefault(name, deque(maxlen=HISTORY))
            if rate is not None:
                history.append(rate)
        return rates


@dataclass(slots=True)
class Settling:
    """How far each service's slots are on their way back to settled, counted from the most that were under way."""

    most: dict[str, int] = field(default_factory=dict)

    def take(self, unsettled: Mapping[str, int]) -> dict[str, float]:
        """Return the part (0 to 1) that has settled again, by service; services with all slots settled have none."""
        self.most = {name: max(left, self.most.get(name, 0)) for name, left in unsettled.items() if left}
        return {name: 1 - unsettled[name] / most for name, most in self.most.items()}
