"""What happened to backends, as a numbered stream: the last ones are kept, and whoever follows gets the next."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xdplb.desired import DesiredService, find_changed

KEPT = 1000  # who asks later than this has missed some, and sees it by the numbers


@dataclass(frozen=True, slots=True)
class Event:
    """One backend's state became another, and why. `was` or `state` None: it was added, or is gone."""

    number: int
    at: float  # seconds since 1970
    service: str
    backend: str
    was: str | None
    state: str | None
    cause: str

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def fields(self) -> dict[str, str | None]:
        """Return what a log says of it."""
        now = self.state or "gone"
        return {"service": self.service, "backend": self.backend, "was": self.was, "state": now, "cause": self.cause}

    def __str__(self) -> str:
        if self.state is None:
            return f"{self.service}/{self.backend} is gone"
        return f"{self.service}/{self.backend} is {self.state}: {self.cause}"


class Events:
    """The stream of one daemon."""

    def __init__(self, first: int = 0) -> None:
        """`first`: where numbers begin. With the time in ms, those of two lives of a daemon are told apart."""
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._last = first
        self.totals: Counter[str] = Counter()  # of this life, by the new state; "gone" where there is none
        self.news = asyncio.Event()  # set once there is something new; then another one takes its place

    def follow(self, before: Sequence[DesiredService], after: Sequence[DesiredService]) -> list[Event]:
        """Take up what became of the backends; return what is new in it."""
        found = []
        for service, was, has in find_changed(before, after):
            key = service.name, (has or was).backend.name  # type: ignore[union-attr]
            if has is None:
                found.append(self._add(*key, str(was.state) if was else None, None, "removed"))
            elif was is None or (was.state, was.serves) != (has.state, has.serves):
                found.append(self._add(*key, str(was.state) if was else None, str(has.state), has.reason))
        if found:
            self.news.set()
            self.news = asyncio.Event()
        return found

    def _add(self, service: str, backend: str, was: str | None, state: str | None, cause: str) -> Event:
        self._last += 1
        self.totals[state or "gone"] += 1
        event = Event(self._last, time.time(), service, backend, was, state, cause)
        self._kept.append(event)
        return event

    def after(self, number: int) -> list[Event]:
        """Return those kept that came after this number; all of them when it is from another daemon's life."""
        if number > self._last:
            number = 0
        return [event for event in self._kept if event.number > number]
