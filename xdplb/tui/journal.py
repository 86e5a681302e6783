"""What happened, as the daemon told it: kept in order, each event once, whatever kinds there will be."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.text import Text

from xdplb.tui.cells import Cell, line
from xdplb.tui.styles import FAINT, STRONG, of_state

Event = dict[str, Any]
KEPT = 1000
_OF_BACKENDS = (None, "backend")  # kinds of what became of a backend
_TOLD = {"number", "at", "kind", "who", "service", "backend", "was", "state", "cause", "text"}


@dataclass(slots=True)
class Journal:
    """The last events, oldest first; `problem` says why no more are told."""

    events: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT))
    problem: str = ""

    @property
    def last(self) -> int:
        """The number of the newest event; who asks anew asks for what came after it."""
        return int(self.events[-1]["number"]) if self.events else 0

    def take(self, event: Event) -> None:
        """Take an event. A daemon that knows nothing of our number tells all that it has, some of it again."""
        self.problem = ""
        if event["number"] > self.last:
            self.events.append(event)


def event_line(event: Event, width: int, now: float) -> Text:
    """Return what happened, on one line: when (of another day, with its date), whom it is about, what, by whom, why."""
    at = datetime.fromtimestamp(event["at"])
    when = at.strftime("%H:%M:%S" if at.date() == datetime.fromtimestamp(now).date() else "%Y-%m-%d %H:%M:%S")
    cells = [Cell(f"{when}  ", FAINT), Cell(subject(event), STRONG), Cell(" ")]
    cells += _what(event)
    if who := event.get("who"):
        cells.append(Cell(f" by {who}", FAINT))
    if cause := event.get("cause") or event.get("text"):
        cells.append(Cell(f": {cause}"))
    if rest := ", ".join(f"{name}={value}" for name, value in event.items() if name not in _TOLD and value):
        cells.append(Cell(f"  {rest}", FAINT))
    return line(cells, width)


def subject(event: Event) -> str:
    """Return whom an event is about."""
    return "/".join(str(event[name]) for name in ("service", "backend") if event.get(name)) or "xdplb"


def _what(event: Event) -> list[Cell]:
    """Return what it is. A kind that is not about a state is told by its name."""
    kind = event.get("kind")
    if kind not in _OF_BACKENDS and not event.get("state"):
        return [Cell(str(kind))]
    state = event.get("state")
    told = [Cell(f"{kind} ")] if kind not in (*_OF_BACKENDS, state) else []
    if state is None:
        return [*told, Cell("gone", FAINT)]
    was = event.get("was")
    return [*told, Cell(f"{was} → ", FAINT) if was else Cell("added, "), Cell(str(state), of_state(state))]


def pane(journal: Journal, width: int, height: int, now: float) -> list[Text]:
    """Return the newest events on so many lines, newest last; or why there are none."""
    if journal.problem:
        return [line([Cell(f"no events: {journal.problem}", FAINT)], width)]
    newest = list(journal.events)[-height:] if height else []
    return [event_line(event, width, now) for event in newest]
