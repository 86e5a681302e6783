"""Rise and fall: when does a row of probe results change what we believe of a backend? Pure, no clock.

The first result decides at once, since before it there is nothing to protect; later ones must repeat `rise` or `fall`
times. While a change is brewing the next probe comes after `fast_s` instead of the whole interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Start:
    """Event: begin. `up` is what is known from before, None if nothing is."""

    up: bool | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What an agent on the backend wants: so many percent of its weight, no new flows, or to be taken for down."""

    percent: int | None = None
    drain: bool = False
    maintenance: bool = False


@dataclass(frozen=True, slots=True)
class ProbeEnded:
    """Event: one probe is over. `warning`: what should be mended although it passed."""

    passed: bool
    cause: str
    warning: str = ""
    said: Said | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Effect: try once, after this long."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Effect: the backend is now believed to be up or down; `cause` is one phrase for people."""

    up: bool
    cause: str


Event: TypeAlias = Start | ProbeEnded
Effect: TypeAlias = Probe | Report


@dataclass(slots=True)
class RiseFall:
    """Rise and fall counting for one backend."""

    interval_s: float
    rise: int
    fall: int
    up: bool | None = None
    streak: int = 0  # results in a row that speak against `up`

    def handle(self, event: Event) -> list[Effect]:
        """Take one event; return what the driver has to do, in order."""
        if isinstance(event, Start):
            self.up, self.streak = event.up, 0
            return [Probe(after_s=0)]
        if event.passed == self.up:
            self.streak = 0
            return [Probe(self.interval_s)]
        self.streak += 1
        needed = 1 if self.up is None else self.fall if self.up else self.rise
        if self.streak < needed:
            return [Probe(min(self.interval_s, self.fast_s))]
        self.up, self.streak = event.passed, 0
        return [Report(event.passed, event.cause), Probe(self.interval_s)]

    @property
    def fast_s(self) -> float:
        """The interval while a change is brewing: half of the whole one."""
        return self.interval_s / 2
