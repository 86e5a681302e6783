"""What happened to backends, and what operators did, as a numbered stream.

The last ones are kept, and whoever follows gets the next. Of kind `backend` are changes of a backend's state; all other
kinds say what was done: by whom, and in `cause` what it came to.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xdplb.desired import DesiredService, find_changed

BACKEND = "backend"  # the kind of what became of one
DONE = ("add", "remove", "drain", "undrain", "weight", "guard", "flows", "confirm", "attach", "detach")  # the others
KEPT = 1000  # who asks later than this has missed some, and sees it by the numbers


@dataclass(frozen=True, slots=True)
class Event:
    """One backend's state became another, and why. `was` or `state` None: it was added, or is gone.

    Of other kinds, both are None, and so are service and backend when it is not about one. `who` None: the daemon.
    """

    number: int
    at: float  # seconds since 1970
    service: str | None
    backend: str | None
    was: str | None
    state: str | None
    cause: str
    kind: str = BACKEND
    who: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def fields(self) -> dict[str, str | None]:
        """Return what a log says of it."""
        now = self.state or "gone"
        return {"service": self.service, "backend": self.backend, "was": self.was, "state": now, "cause": self.cause}

    def __str__(self) -> str:
        if self.kind != BACKEND:
            about = f" {self.service}/{self.backend}" if self.backend else ""
            return f"{self.kind}{about}: {self.cause}" + (f" (by {self.who})" if self.who else "")
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
            self._wake()
        return found

    def tell(
        self, kind: str, cause: str, service: str | None = None, backend: str | None = None, who: str | None = None
    ) -> Event:
        """Take up what was done, by an operator or the daemon itself."""
        event = self._add(service, backend, None, None, cause, kind, who)
        self._wake()
        return event

    def _wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def _add(self, *what: str | None) -> Event:
        self._last += 1
        event = Event(self._last, time.time(), *what)  # type: ignore[arg-type]
        if event.kind == BACKEND:
            self.totals[event.state or "gone"] += 1
        self._kept.append(event)
        return event

    def after(self, number: int) -> list[Event]:
        """Return those kept that came after this number; all of them when it is from another daemon's life."""
        if number > self._last:
            number = 0
        return [event for event in self._kept if event.number > number]
