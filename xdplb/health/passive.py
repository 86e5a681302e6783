"""Does traffic speak against a backend? From counted SYNs and their first ACKs to suspicions. Pure, no clock.

A backend is suspected when clients keep trying and none gets on, for so long that chance does not explain it. How much
progress there should have been is told by the service's other backends over the same time, and by the backend's own
past: the lesser of the two. So whoever floods a service with SYNs makes progress rarer everywhere, and accuses nobody;
and a backend that gets nothing but SYNs from strangers soon is not expected to make progress. A service with one
backend is compared with how much progress it made in the same time before.

How little is too little depends on round trips. Where they are short against the time between two readings, a SYN and
its ACK are counted together, and five SYNs without one are enough; where they are long, SYNs and ACKs of one reading
belong to different connections, and come independently (Poisson): then the chance of no ACK where x are expected is
e^-x. Which it is, is measured: `scatter` is how far progress strays from what it should be, as a share of what
independence would have it: between 0 and 1, more when connections come in heaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp
from typing import NamedTuple

LEAST = 5.0  # connections that should have got on, before anything is said
STRICTNESS = 24.0  # the same where they come independently; e^-24: also of a thousand backends at 40 looks a second
RUN_S = 2.0  # what is older is not held against a backend: by then, its checks know
SPACING_S = 1.0  # between two suspicions of a backend
MEMORY_S = 10.0  # the past fades by 1/e in this time
HEAP = 4.0  # `scatter` is never more: a flood that begins is no reason to believe nothing for long
DOUBT = 20.0  # so many connections' weight has the belief that they come independently, at first
_WRAP = 1 << 32
_BACKWARDS = 1 << 31


class Counts(NamedTuple):
    """What the program has counted for one backend: `struct progress`."""

    started: int = 0
    progressed: int = 0
    repeated: int = 0


class Suspicion(NamedTuple):
    """Against whom, and one phrase for people."""

    backend: int  # identity
    cause: str


@dataclass(slots=True)
class _Past:
    """Attempts and progress of the last seconds, older ones for less."""

    attempts: float = 0.0
    progressed: float = 0.0
    known_s: float = 0.0  # the time that they are of, fading likewise
    at: float | None = None

    def fade(self, now: float) -> float:
        """Go on to `now`; return what the past still counts."""
        passed_s = 0.0 if self.at is None else now - self.at
        left = exp(-passed_s / MEMORY_S)
        self.attempts, self.progressed = self.attempts * left, self.progressed * left
        self.known_s = self.known_s * left + MEMORY_S * (1 - left)
        self.at = now
        return left

    def add(self, now: float, attempts: float, progressed: float) -> None:
        self.fade(now)
        self.attempts, self.progressed = self.attempts + attempts, self.progressed + progressed

    def ratio(self, prior: float) -> float:
        """How many attempts got on; as long as there were few, rather what is known from elsewhere."""
        return (self.progressed + prior * LEAST) / (self.attempts + LEAST)


@dataclass(slots=True)
class _Service:
    members: int = 0
    attempts: int = 0  # of all backends, ever
    progressed: int = 0
    before: tuple[int, int] = (0, 0)  # both, at the last reading
    past: _Past = field(default_factory=_Past)
    strayed: float = DOUBT  # squares, and what they would be with independence
    independent: float = DOUBT

    @property
    def scatter(self) -> float:
        return self.strayed / self.independent

    def learn(self, now: float, attempts: int, progressed: int) -> None:
        """Take note of a run that ended well."""
        left = self.past.fade(now)
        self.past.add(now, attempts, progressed)
        ratio = self.past.ratio(1.0)
        independent = progressed + ratio * ratio * attempts
        strayed = min((progressed - ratio * attempts) ** 2, HEAP * independent)
        self.strayed = DOUBT + (self.strayed - DOUBT) * left + strayed
        self.independent = DOUBT + (self.independent - DOUBT) * left + independent


@dataclass(slots=True)
class _Backend:
    service: _Service
    counts: Counts | None = None  # at the last reading
    past: _Past = field(default_factory=_Past)
    attempts: int = 0  # since the last progress: a run
    repeated: int = 0
    began: float = 0.0
    others: tuple[int, int] = (0, 0)  # the service's numbers when the run began
    suspected: float | None = None

    def begin(self, now: float, others: tuple[int, int]) -> None:
        self.attempts, self.repeated, self.began, self.others = 0, 0, now, others


class Judge:
    """All backends that traffic is watched of. Whoever reads the counters calls `judge` with those that changed."""

    def __init__(self) -> None:
        self._backends: dict[int, _Backend] = {}  # by identity
        self._services: dict[str, _Service] = {}
        self._at: float | None = None  # the last reading

    def follow(self, members: Mapping[int, str]) -> None:
        """Watch exactly these backends, of these services; what is known of others is forgotten."""
        old, old_services = self._backends, self._services
        self._services = {name: old_services.get(name) or _Service() for name in members.values()}
        self._backends = {}
        for service in self._services.values():
            service.members = 0
        for backend, name in members.items():
            service, known = self._services[name], old.get(backend)
            service.members += 1
            same = known is not None and known.service is service
            self._backends[backend] = known if known and same else _Backend(service)

    def rebase(self, counts: Mapping[int, Counts]) -> None:
        """Go on from these numbers: they are of other tables, or nobody has looked meanwhile."""
        for name, backend in self._backends.items():
            backend.counts = counts.get(name, Counts())
            backend.begin(0.0, (0, 0))

    def judge(self, now: float, changed: Mapping[int, Counts]) -> list[Suspicion]:
        """Take the backends' counters that are others than at the last reading; return whom to look at."""
        news = [(name, *self._news(name, counts)) for name, counts in changed.items() if name in self._backends]
        since, self._at = (now if self._at is None else self._at), now
        touched = {id(backend.service): backend.service for _, backend, *_ in news}
        for service in touched.values():
            service.before = service.attempts, service.progressed
        for _, backend, attempts, progressed, _ in news:
            backend.service.attempts += attempts
            backend.service.progressed += progressed
        found = (self._weigh(now, since, *each) for each in news)
        return [suspicion for suspicion in found if suspicion]

    def _news(self, name: int, counts: Counts) -> tuple[_Backend, int, int, int]:
        """Return a backend with its attempts, progress and repeated SYNs since the last reading."""
        backend = self._backends[name]
        last, backend.counts = backend.counts, counts
        if last is None:
            return backend, 0, 0, 0
        started, progressed, repeated = ((b - a) % _WRAP for a, b in zip(last, counts, strict=True))
        if max(started, progressed, repeated) >= _BACKWARDS:  # the row has begun anew
            return backend, 0, 0, 0
        return backend, started + repeated, progressed, repeated

    def _weigh(
        self, now: float, since: float, name: int, backend: _Backend, attempts: int, progressed: int, repeated: int
    ) -> Suspicion | None:
        service = backend.service
        if backend.attempts and since - backend.began > RUN_S:
            self._end(now, backend, 0)
        if not backend.attempts:
            backend.begin(since, service.before)
        backend.attempts += attempts
        backend.repeated += repeated
        if progressed:
            self._end(now, backend, progressed)
            return None
        too_soon = backend.suspected is not None and now - backend.suspected < SPACING_S
        expected = 0.0 if too_soon or backend.attempts < LEAST else _expected(now, backend)
        if expected < max(LEAST, STRICTNESS * service.scatter):
            return None
        cause = _cause(now, backend)
        backend.suspected = now
        self._end(now, backend, 0)
        return Suspicion(name, cause)

    def _end(self, now: float, backend: _Backend, progressed: int) -> None:
        """A run is over: learn from it."""
        backend.past.add(now, backend.attempts, progressed)
        if progressed:
            backend.service.learn(now, backend.attempts, progressed)
        backend.begin(now, (0, 0))


def _expected(now: float, backend: _Backend) -> float:
    """Return how many of a run's attempts should have got on."""
    service, past = backend.service, backend.past  # as the run began
    own = past.ratio(service.past.ratio(0.0)) * backend.attempts
    if service.members == 1:
        pace = past.progressed / max(past.known_s, 1e-3)
        return min(own, pace * (now - backend.began))
    attempts = service.attempts - backend.others[0] - backend.attempts
    progressed = service.progressed - backend.others[1]
    return min(own, backend.attempts * progressed / max(attempts, progressed, 1))


def _cause(now: float, backend: _Backend) -> str:
    took_ms = (now - backend.began) * 1e3
    said = f"no connection was answered in {took_ms:.0f} ms, of {backend.attempts} sampled ones"
    return f"{said} ({backend.repeated} SYNs came again)" if backend.repeated else said
