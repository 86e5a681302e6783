"""What the reader of the screen has asked for: order, filter, place, pause. Keys in, a new view out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Sort(StrEnum):
    """What backends are ordered by, within their service."""

    NAME = "name"
    STATE = "state"
    WEIGHT = "weight"
    PACKETS = "packets/s"
    BITS = "bits/s"
    CONNECTIONS = "connections/s"
    SHARE_ERROR = "share error"


_SORTS = list(Sort)


@dataclass(frozen=True, slots=True)
class View:
    """How the screen is to look. `rows` and `page` are what the last frame had, they bound the scrolling."""

    sort: Sort = Sort.NAME
    reverse: bool = False
    filter: str = ""
    typing: bool = False  # the keys go into `filter`
    top: int = 0  # first row shown
    rows: int = 0
    page: int = 1  # rows that fit
    paused: bool = False
    help: bool = False
    quit: bool = False

    def fit(self, rows: int, page: int) -> View:
        """Return the view for a list of so many rows on a page of so many."""
        last_top = max(0, rows - page)
        return replace(self, rows=rows, page=page, top=min(max(0, self.top), last_top))

    def handle(self, key: str) -> View:
        """Return the view after one key (named as in `keys`)."""
        if self.typing:
            return self._type(key)
        if key == "q":
            return replace(self, quit=True)
        if self.help:
            return replace(self, help=False)
        moved = self._move(key)
        return self._command(key) if moved is None else moved

    def _type(self, key: str) -> View:
        """Take a key while the filter is being written."""
        if key == "enter":
            return replace(self, typing=False)
        if key == "escape":
            return replace(self, typing=False, filter="", top=0)
        if key == "backspace":
            return replace(self, filter=self.filter[:-1], top=0)
        if key == "ctrl_u":
            return replace(self, filter="", top=0)
        if len(key) == 1:
            return replace(self, filter=self.filter + key, top=0)
        return self._move(key) or self

    def _move(self, key: str) -> View | None:
        """Scroll, if this key scrolls."""
        page = max(1, self.page - 1)  # the head of a service covers the first row
        steps = {
            "up": -1,
            "down": 1,
            "page_up": -page,
            "page_down": page,
            "home": -self.rows,
            "end": self.rows,
        }
        letters = {"k": "up", "j": "down", "g": "home", "G": "end"}
        key = letters.get(key, key)
        if key not in steps:
            return None
        return replace(self, top=self.top + steps[key]).fit(self.rows, self.page)

    def _command(self, key: str) -> View:
        """Take a key that neither types nor scrolls."""
        match key:
            case "s" | "right":
                return self._sort_by(+1)
            case "S" | "left":
                return self._sort_by(-1)
            case "r":
                return replace(self, reverse=not self.reverse, top=0)
            case "/":
                return replace(self, typing=True)
            case "escape":
                return replace(self, filter="", top=0)
            case "p" | " ":
                return replace(self, paused=not self.paused)
            case "?" | "h":
                return replace(self, help=True)
        return self

    def _sort_by(self, step: int) -> View:
        """Go to the next order, or to the one before."""
        following = _SORTS[(_SORTS.index(self.sort) + step) % len(_SORTS)]
        return replace(self, sort=following, reverse=False, top=0)
