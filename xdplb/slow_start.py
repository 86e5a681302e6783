"""Slow start: a backend that came up again gets its share of new flows little by little. Pure, times come in.

Its caches are cold and its connection pools empty; the whole of its share at once may throw it down again. So a backend
that is up after it was not, or that was added, begins with a sixteenth of its slots and has all of them after the
service's `slow_start_s`. Where nobody else is up in full, there is nobody to take the rest, and no slow start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xdplb.desired import DesiredService, Key
from xdplb.model import State

STEPS = 16
RECOVERS = {State.DOWN, State.UNREACHABLE, State.CHECKING, State.DRAINING}  # from these, and not from weight 0


@dataclass(slots=True)
class Ramps:
    """The slow starts of all services that have one: `lasts_s` by service, `began` in the caller's seconds."""

    lasts_s: Mapping[str, float]
    began: dict[Key, float] = field(default_factory=dict)
    _unproven: set[Key] | None = None  # checked since the daemon's start, without a result yet; None: not started

    def shares(self, now: float) -> dict[Key, float]:
        """Return the shares of those that have not all of theirs."""
        return {key: _share(now - began, self.lasts_s.get(key[0], 0)) for key, began in self.began.items()}

    def next_step(self, since: float) -> float | None:
        """Return when a share grows next after a time."""
        return min((self._next(key, since) for key in self.began), default=None)

    def _next(self, key: Key, since: float) -> float:
        step_s, began = self.lasts_s.get(key[0], 0) / STEPS, self.began[key]
        return began + step_s * (int((since - began) / step_s) + 1) if step_s else since

    def follow(self, before: Sequence[DesiredService], after: Sequence[DesiredService], now: float) -> bool:
        """Take up what became of the backends; return whether any slow start began or ended."""
        known = dict(self.began)
        same = {id(service) for service in before}
        states = {(s.name, b.backend.name): b.acts_as for s in before for b in s.backends if s.name in self.lasts_s}
        wanted = {(s.name, b.backend.name): b.state for s in after for b in s.backends if s.name in self.lasts_s}
        if self._unproven is None:
            self._unproven = {key for key, state in wanted.items() if state is State.CHECKING}
            states = wanted
        for key in list(self.began):
            if wanted.get(key) is not State.UP or _share(now - self.began[key], self.lasts_s[key[0]]) >= 1:
                del self.began[key]
        for service in after:
            if service.name in self.lasts_s and id(service) not in same:
                self._begin(service, states, now)
        self._unproven -= {key for key in self._unproven if wanted.get(key) is not State.CHECKING}
        return self.began != known

    def _begin(self, service: DesiredService, states: Mapping[Key, State], now: float) -> None:
        """Begin what has to begin in a service, or end all in it when nobody is up in full."""
        up = [(service.name, b.backend.name) for b in service.backends if b.state is State.UP]
        new = set(self._risen(up, states))
        if all(key in new or key in self.began for key in up):
            for key in up:
                self.began.pop(key, None)
        else:
            self.began |= dict.fromkeys(new, now)

    def _risen(self, up: Sequence[Key], states: Mapping[Key, State]) -> Iterator[Key]:
        for key in up:
            first = key in (self._unproven or ())
            if (key not in states or states[key] in RECOVERS) and not first:
                yield key


def _share(elapsed_s: float, lasts_s: float) -> float:
    """Return 1/16 at the beginning, and 1 from the last sixteenth of the time on."""
    if lasts_s <= 0 or elapsed_s >= lasts_s:
        return 1.0
    return min(1.0, (1 + int(max(0.0, elapsed_s) / lasts_s * STEPS)) / STEPS)
