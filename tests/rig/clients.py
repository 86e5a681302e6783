"""Clients, strangers and the program's table of SYNs, simulated: what the counters of `bpf/progress.h` would say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from xdplb.contract import CONSTANTS
from xdplb.health.passive import Counts, Judge

READING_S = 0.025
PLACES = CONSTANTS["ATTEMPTS"]
AGAIN_S = 1.0  # until a SYN that was not answered is sent again (RFC 6298, 2.1)


@dataclass
class World:
    """One service. Connections a second of good clients and of a flood; round trips; who is dead, and since when."""

    seed: int = 1
    backends: int = 4
    rate: float = 2000.0
    flood: float = 0.0
    flood_from: float = 0.0
    rtts: Sequence[float] = (0.0005,)
    dies: dict[int, float] = field(default_factory=dict)
    silent: bool = False  # the dead one does not even refuse: SYNs come again
    warm_s: float = 0.0  # clients begin then

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.judge = Judge()
        self.judge.follow(dict.fromkeys(range(self.backends), "web"))
        self.counts = [[0, 0, 0] for _ in range(self.backends)]
        self.told = [Counts()] * self.backends
        self.judge.rebase({})
        self.table: dict[int, tuple[int, int]] = {}  # by place: who is there, and since which moment
        self.later: list[tuple[float, int, int, int]] = []  # when, connection, its backend and place: -1 for a SYN
        self.number = self.moment = 0
        self.next_good, self.next_stranger = self.warm_s, self.flood_from
        self.first_failing: dict[int, float] = {}  # when a dead backend's first SYN came

    def run(self, seconds: float, jitter_s: float = 0.002) -> list[tuple[float, int, str]]:
        """Return when whom was suspected why, reading every 25 ms and a little more."""
        now, found = 0.0, []
        while now < seconds:
            self.moment += 1
            now += READING_S + self.random.random() * jitter_s
            self._pass(now)
            tuples = [Counts(*(number % 2**32 for number in counts)) for counts in self.counts]
            changed = {n: counts for n, counts in enumerate(tuples) if counts != self.told[n]}
            self.told = tuples
            found += [(now, s.backend, s.cause) for s in self.judge.judge(now, changed)]
        return found

    def _pass(self, until: float) -> None:
        draw, good, bad = self.random.expovariate, self.rate, self.flood
        while True:
            times = (self.next_good, self.next_stranger if bad else until, self.later[0][0] if self.later else until)
            at = min(times)
            if at >= until:
                return
            if at == times[2]:
                self._later(*heappop(self.later))
            elif at == times[0]:
                self.next_good = at + draw(good)
                self._attempt(at, self.random.randrange(self.backends), True)
            else:
                self.next_stranger = at + draw(bad)
                self._attempt(at, self.random.randrange(self.backends), False)

    def _attempt(self, at: float, backend: int, good: bool) -> None:
        self.number += 1
        place = self.random.randrange(PLACES)
        looked_at = self.table.get(place, (0, 0))[1] != self.moment
        if looked_at:
            self.table[place] = self.number, self.moment
            self.counts[backend][0] += 1
        if not good:
            return
        if at < self.dies.get(backend, at + 1):
            if looked_at:
                heappush(self.later, (at + self.random.choice(self.rtts), self.number, backend, place))
            return
        self.first_failing.setdefault(backend, at)
        if self.silent:
            heappush(self.later, (at + AGAIN_S, self.number, backend, -1 - place))

    def _later(self, at: float, number: int, backend: int, place: int) -> None:
        again, place = place < 0, max(place, -1 - place)
        who, since = self.table.get(place, (0, 0))
        if not again and who == number:
            del self.table[place]
            self.counts[backend][1] += 1
        elif again and (who == number or since != self.moment):
            self.table[place] = number, self.moment
            self.counts[backend][2 if who == number else 0] += 1
