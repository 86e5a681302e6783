"""Take all measurements, interleaved, and keep those that nothing disturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tools.bench.driver import Driver
from tools.bench.subjects import Subject, frame

YARDSTICK = "floor2"
# A virtual CPU shares its core: while a neighbour is busy, everything takes up to twice as long, and a big program
# suffers more than a small one. The stub, timed before and after, tells: it may be so much slower than at its best.
QUIET = 1.12
PATIENCE = 3  # times as many rounds as asked for are run at the most, for want of quiet ones


@dataclass(frozen=True, slots=True)
class Load:
    """What the driver sends: frames of any one of `flows` flows, all of them SYNs or none."""

    name: str
    flows: int
    syn: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: net ns per packet, and ns of the stub beside it, of the slower one of two."""

    net_ns: float
    stub_ns: float


@dataclass(slots=True)
class Results:
    """Every measurement by (subject, load)."""

    families: dict[str, int]  # of the subjects
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    least: dict[int, float] = field(default_factory=dict)  # ns of each family's stub at its best

    def add(self, subject: str, load: str, ns: float, before_ns: float, after_ns: float) -> None:
        """Keep one measurement between two of the stub."""
        sample = Sample(ns - (before_ns + after_ns) / 2, max(before_ns, after_ns))
        self.samples.setdefault((subject, load), []).append(sample)
        family = self.families[subject]
        self.least[family] = min(self.least.get(family, before_ns), before_ns, after_ns)

    def quiet(self, subject: str, load: str) -> list[float]:
        """Return the net ns of the measurements that nothing disturbed."""
        limit = QUIET * self.least[self.families[subject]]
        return [sample.net_ns for sample in self.samples[subject, load] if sample.stub_ns <= limit]

    def enough(self, number: int) -> bool:
        """Whether there are so many of those everywhere."""
        return all(len(self.quiet(*key)) >= number for key in self.samples)

    def undone(self, subject: str, load: str, number: int) -> bool:
        """Whether there are not so many yet."""
        return (subject, load) not in self.samples or len(self.quiet(subject, load)) < number

    def net_ns(self, subject: str, load: str) -> float:
        """Return the median, of all measurements when none was quiet."""
        return median(self.quiet(subject, load) or [sample.net_ns for sample in self.samples[subject, load]])

    def multiple(self, subject: str, load: str) -> float:
        """Return it as a multiple of the floor that encapsulates."""
        return self.net_ns(subject, load) / self.net_ns(YARDSTICK, load)


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that is needed for a measurement; stubs and drivers by family."""

    drivers: Mapping[int, Driver]
    stubs: Mapping[int, Subject]
    subjects: Sequence[Subject]
    turns: int

    def time(self, subject: Subject, load: Load, turn: int = 0) -> float:
        """Return the ns of a packet, driver included, of one of the subject's copies. Raises NotProven."""
        sent, fd = frame(subject.family, load.syn), subject.fds[turn % len(subject.fds)]
        driver, turns = self.drivers[subject.family], max(1, self.turns // subject.slower)
        return driver.time(fd, sent, load.flows, turns, subject.grows, subject.action, subject.vips)

    def measure(self, loads: Sequence[Load], repeat: int) -> Results:
        """Measure every subject under every load, `repeat` times undisturbed if it can be. Raises NotProven."""
        results = Results({subject.name: subject.family for subject in self.subjects})
        for turn in range(PATIENCE * repeat):
            for load in loads:
                self._round(load, turn, results, repeat)
            if results.enough(repeat):
                break
        return results

    def _round(self, load: Load, turn: int, results: Results, repeat: int) -> None:
        before = {family: self.time(stub, load) for family, stub in self.stubs.items()}
        for subject in self.subjects:
            if subject.name != YARDSTICK and not results.undone(subject.name, load.name, repeat):
                continue
            took, after = self.time(subject, load, turn), self.time(self.stubs[subject.family], load)
            results.add(subject.name, load.name, took, before[subject.family], after)
            before[subject.family] = after
