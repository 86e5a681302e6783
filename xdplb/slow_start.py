"""Slow start: a backend that came up again gets its share of new flows little by little. Pure, times come in.

Its caches are cold and its connection pools empty; the whole of its share at once may throw it down again. So a backend
that is up after it was not, or that was added, begins with a sixteenth of its slots and has all of them after the
service's `slow_start_s`. Where nobody else is up in full, there is nobody to take the rest, and no slow start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xdplb.desired import DesiredService, Key, find_changed
from xdplb.model import State

STEPS = 16
RECOVERS = {State.DOWN, State.UNREACHABLE, State.CHECKING, State.DRAINING}  # from these, and not from weight 0
_Change = tuple[Key, State | None, State | None]  # of a backend: its state before and after; None: not there


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
        known, changed = dict(self.began), self._changed(before, after)
        first = self._unproven is None
        if self._unproven is None:
            there = {(s.name, b.backend.name): b.state for s in after for b in s.backends if s.name in self.lasts_s}
            self._unproven = {key for key, state in there.items() if state is State.CHECKING}
            self._end(key for key in known if key not in there)
        became = {key: state for its in changed.values() for key, _, state in its}
        self._end(key for key, state in became.items() if state is not State.UP)
        self._end(key for key in known if _share(now - known[key], self.lasts_s.get(key[0], 0)) >= 1)
        for service in after:
            if service.name in changed:
                self._begin(service, set() if first else set(self._risen(changed[service.name])), now)
        self._unproven -= {key for key, state in became.items() if state is not State.CHECKING}
        return self.began != known

    def _changed(self, before: Sequence[DesiredService], after: Sequence[DesiredService]) -> dict[str, list[_Change]]:
        found: dict[str, list[_Change]] = {}
        for service, was, has in find_changed(before, after):
            if service.name in self.lasts_s and (backend := has or was):
                key = (service.name, backend.backend.name)
                found.setdefault(service.name, []).append(
                    (key, was.acts_as if was else None, has.state if has else None)
                )
        return found

    def _end(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.began.pop(key, None)

    def _begin(self, service: DesiredService, risen: set[Key], now: float) -> None:
        """Begin what has to begin in a service, or end all in it when nobody is up in full."""
        slow = {*risen, *(key for key in self.began if key[0] == service.name)}
        if any(b.state is State.UP and (service.name, b.backend.name) not in slow for b in service.backends):
            self.began |= dict.fromkeys(risen, now)
        else:
            self._end(slow)

    def _risen(self, changed: Sequence[_Change]) -> Iterator[Key]:
        for key, was, has in changed:
            recovers = was is None or was in RECOVERS
            if has is State.UP and was is not State.UP and recovers and key not in (self._unproven or ()):
                yield key


def _share(elapsed_s: float, lasts_s: float) -> float:
    """Return 1/16 at the beginning, and 1 from the last sixteenth of the time on."""
    if lasts_s <= 0 or elapsed_s >= lasts_s:
        return 1.0
    return min(1.0, (1 + int(max(0.0, elapsed_s) / lasts_s * STEPS)) / STEPS)
