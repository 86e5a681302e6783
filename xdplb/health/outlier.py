"""Outlier ejection: what a proxy saw of its backends has the bad ones left out for a while. Pure, no clock.

As Envoy does it (docs: intro/arch_overview/upstream/outlier): failures in a row at once; success rate, and here also
latency, at the end of an interval, by how far a backend is from the others' mean in standard deviations. An ejection
lasts `base_s` times the number of ejections so far, which one interval without an ejection lowers by one. No more than
a share of a service's backends is ejected at a time, and never the last one that is up; when the others go down, it
comes back. Whatever a backend's numbers say against it, it is suspected: an active probe looks at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from xdplb.desired import Key


@dataclass(frozen=True, slots=True)
class Rules:
    """When a backend is an outlier; the defaults are Envoy's, but for the cap and the latency, which Envoy lacks."""

    in_a_row: int = 5  # failures
    interval_s: float = 10.0
    least_requests: int = 100  # of a backend in an interval, or its rate says nothing
    least_backends: int = 5  # with that many, or there is no mean to speak of
    deviations: float = 1.9  # so far below the mean success rate, or above the mean latency
    slow_factor: float = 3.0  # and this many times the mean latency
    base_s: float = 30.0
    longest_s: float = 300.0
    most_percent: float = 50.0  # of a service's backends ejected at a time; one may always be


@dataclass(frozen=True, slots=True)
class Account:
    """Event: what was seen of a backend since the last one. Failures are in a row only if there was no success."""

    key: Key
    ok: int = 0
    failed: int = 0
    latency_s: float = 0.0  # the sum over `ok`


@dataclass(frozen=True, slots=True)
class Suspect:
    """Effect: probe it now."""

    key: Key
    cause: str


@dataclass(frozen=True, slots=True)
class Eject:
    """Effect: it counts as down until then, whatever its check says."""

    key: Key
    until: float
    cause: str


@dataclass(frozen=True, slots=True)
class Return:
    """Effect: its time is over."""

    key: Key


Effect: TypeAlias = Suspect | Eject | Return


@dataclass(slots=True)
class _Seen:
    """One backend."""

    ok: int = 0  # in this interval
    failed: int = 0
    latency_s: float = 0.0
    in_a_row: int = 0  # failures
    ejections: int = 0  # so far, lowered again by good intervals
    until: float | None = None  # ejected

    @property
    def requests(self) -> int:
        return self.ok + self.failed


@dataclass(slots=True)
class Outliers:
    """All backends of services that may eject; nobody is known until `follow`."""

    rules: Rules = field(default_factory=Rules)
    _backends: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _up: Container[Key] = ()
    _seen: dict[Key, _Seen] = field(default_factory=dict)
    _end: float | None = None  # of this interval; None: nothing was seen in it

    def follow(self, backends: Mapping[str, Sequence[str]], up: Container[Key]) -> list[Effect]:
        """Know these now, by service, of those with `passive` only; others are suspected, but never ejected.

        `up`: those that would serve if they were not ejected.
        """
        self._backends, self._up = backends, up
        there = {(service, name) for service, names in backends.items() for name in names}
        effects: list[Effect] = [Return(key) for key, seen in self._seen.items() if key not in there and seen.until]
        self._seen = {key: seen for key, seen in self._seen.items() if key in there}
        for service in {key[0] for key, seen in self._seen.items() if seen.until is not None}:
            if not self._serving(service):
                effects += [self._return(key) for key in self.ejected(service) if key in up]
        return effects

    def next_time(self) -> float | None:
        """Return when `tick` has something to do, if nothing is taken before."""
        times = [seen.until for seen in self._seen.values() if seen.until is not None]
        return min([*times, *([self._end] if self._end is not None else [])], default=None)

    def take(self, report: Iterable[Account], now: float) -> list[Effect]:
        """Take what was seen; return what has to be done."""
        effects = self.tick(now)
        for account in report:
            effects += self._take(account, now)
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Let those return whose time is over, and judge the interval if it is over."""
        effects: list[Effect] = []
        for key, seen in self._seen.items():
            if seen.until is not None and seen.until <= now:
                effects.append(self._return(key))
        if self._end is not None and self._end <= now:
            effects += self._judge(now)
            self._end = None
        return effects

    def ejected(self, service: str) -> list[Key]:
        """Return who is left out of a service now."""
        return [key for key, seen in self._seen.items() if key[0] == service and seen.until is not None]

    # --- failures in a row ----------------------------------------------------------------------------------

    def _take(self, account: Account, now: float) -> list[Effect]:
        if account.key[1] not in self._backends.get(account.key[0], ()):
            return _suspect(account) if account.failed else []
        seen = self._seen.setdefault(account.key, _Seen())
        if self._end is None:
            self._end = now + self.rules.interval_s
        seen.ok += account.ok
        seen.failed += account.failed
        seen.latency_s += account.latency_s
        seen.in_a_row = 0 if account.ok else seen.in_a_row + account.failed
        if not account.failed:
            return []
        effects = _suspect(account)
        if seen.in_a_row >= self.rules.in_a_row:
            effects += self._eject(account.key, f"{seen.in_a_row} errors in a row", now)
        return effects

    # --- those that differ ----------------------------------------------------------------------------------

    def _judge(self, now: float) -> list[Effect]:
        """Compare the backends of each service over the interval, and begin the next one."""
        effects: list[Effect] = []
        before = {key for key, seen in self._seen.items() if seen.until is not None}
        for service, names in self._backends.items():
            effects += self._judge_service([(service, name) for name in names], now)
        for key, seen in self._seen.items():
            if key not in before and seen.until is None and seen.ejections:
                seen.ejections -= 1
            seen.ok = seen.failed = 0
            seen.latency_s = 0.0
        return effects

    def _judge_service(self, keys: list[Key], now: float) -> list[Effect]:
        rules = self.rules
        busy = {
            key: self._seen[key]
            for key in keys
            if key in self._seen and self._seen[key].until is None and self._seen[key].requests >= rules.least_requests
        }
        if len(busy) < rules.least_backends:
            return []
        effects = self._judge_by(busy, lambda seen: seen.ok / seen.requests, self._why_failing, now)
        timed = {key: seen for key, seen in busy.items() if seen.ok >= rules.least_requests and seen.until is None}
        if len(timed) >= rules.least_backends:
            effects += self._judge_by(timed, lambda seen: seen.latency_s / seen.ok, self._why_slow, now)
        return effects

    def _judge_by(
        self,
        seen: Mapping[Key, _Seen],
        measure: Callable[[_Seen], float],
        why: Callable[[float, float, float], str],
        now: float,
    ) -> list[Effect]:
        """Eject those of which `why` (value, mean, standard deviation) finds a reason."""
        values = {key: measure(one) for key, one in seen.items()}
        mean = sum(values.values()) / len(values)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values.values()) / len(values))
        effects: list[Effect] = []
        for key, value in values.items():
            if cause := why(value, mean, deviation):
                effects += [Suspect(key, f"{cause} (reported by traffic)"), *self._eject(key, cause, now)]
        return effects

    def _why_failing(self, rate: float, mean: float, deviation: float) -> str:
        if rate < mean - self.rules.deviations * deviation:
            return f"{rate:.1%} of requests succeed, {mean:.1%} on the mean of all backends"
        return ""

    def _why_slow(self, latency: float, mean: float, deviation: float) -> str:
        rules = self.rules
        if latency > mean + rules.deviations * deviation and latency > rules.slow_factor * mean:
            return f"{latency * 1e3:.1f} ms a request, {mean * 1e3:.1f} ms on the mean of all backends"
        return ""

    # --- ejection -------------------------------------------------------------------------------------------

    def _eject(self, key: Key, cause: str, now: float) -> list[Effect]:
        seen = self._seen[key]
        allowed = max(1, math.floor(len(self._backends[key[0]]) * self.rules.most_percent / 100))
        if seen.until is not None or len(self.ejected(key[0])) >= allowed or not self._serving(key[0], besides=key):
            return []
        seen.ejections += 1
        for_s = min(self.rules.base_s * seen.ejections, self.rules.longest_s)
        seen.until = now + for_s
        return [Eject(key, seen.until, f"ejected for {for_s:g} s: {cause} (reported by traffic)")]

    def _return(self, key: Key) -> Return:
        seen = self._seen[key]
        seen.until, seen.in_a_row = None, 0
        return Return(key)

    def _serving(self, service: str, besides: Key | None = None) -> bool:
        """Whether somebody would serve: up, not ejected, and another than this one."""
        out = {besides, *self.ejected(service)}
        keys = ((service, name) for name in self._backends[service])
        return any(key in self._up and key not in out for key in keys)


def _suspect(account: Account) -> list[Effect]:
    share = f"{account.failed} of {account.ok + account.failed}"
    return [Suspect(account.key, f"{share} requests failed (reported by traffic)")]
