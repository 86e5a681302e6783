"""Take all measurements, interleaved, so that what disturbs one disturbs all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tools.bench.driver import Driver
from tools.bench.subjects import Subject, frame

YARDSTICK = "floor2"


@dataclass(frozen=True, slots=True)
class Load:
    """What the driver sends: frames of any one of `flows` flows, all of them SYNs or none."""

    name: str
    flows: int
    syn: bool = False


@dataclass(slots=True)
class Results:
    """Net ns per packet: every measurement by (subject, load)."""

    samples: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, subject: str, load: Load, ns: float) -> None:
        """Keep one measurement."""
        self.samples.setdefault((subject, load.name), []).append(ns)

    def net_ns(self, subject: str, load: str) -> float:
        """Return the median."""
        return median(self.samples[subject, load])

    def multiple(self, subject: str, load: str) -> float:
        """Return it as a multiple of the floor that encapsulates."""
        return self.net_ns(subject, load) / self.net_ns(YARDSTICK, load)


def measure(
    drivers: Mapping[int, Driver],
    stubs: Mapping[int, Subject],
    subjects: Sequence[Subject],
    loads: Sequence[Load],
    repeat: int,
    turns: int,
) -> Results:
    """Measure every subject under every load `repeat` times. Raises NotProven."""
    results = Results()
    for _ in range(repeat):
        for load in loads:

            def time(subject: Subject, load: Load = load) -> float:
                sent = frame(subject.family, load.syn)
                return drivers[subject.family].time(subject.fd, sent, load.flows, turns, subject.grows)

            idle = {family: time(stub) for family, stub in stubs.items()}
            for subject in subjects:
                results.add(subject.name, load, time(subject) - idle[subject.family])
    return results
