"""What the reader of the screen has asked for: which screen, order, filter, place, pause. Keys in, a new view out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain

Key = tuple[str, str | None]  # a service, or a backend of it, by name


class Sort(StrEnum):
    """What backends are ordered by, within their service."""

    NAME = "name"
    STATE = "state"
    WEIGHT = "weight"
    PACKETS = "packets/s"
    BITS = "bits/s"
    CONNECTIONS = "connections/s"
    SHARE_ERROR = "share error"


class Screen(StrEnum):
    """What can be looked at."""

    SERVICES = "services"
    DETAIL = "detail"  # of one service or backend
    EVENTS = "events"
    REASONS = "reasons"
    GUARD = "guard"
    HELP = "keys"


_SORTS = list(Sort)
_OPENED_BY = {"e": Screen.EVENTS, "v": Screen.REASONS, "b": Screen.GUARD}
_LETTERS = {"k": "up", "j": "down", "g": "home", "G": "end"}


@dataclass(frozen=True, slots=True)
class Place:
    """One screen, and where one is on it. `rows` and `page` are what the last frame had, they bound the moves.

    Rows that can be chosen have keys. The choice is kept by name: another order must not put somebody else under it.
    """

    screen: Screen = Screen.SERVICES
    about: Key | None = None  # whose detail it is
    chosen: Key | None = None
    cursor: int = 0  # the row of `chosen`
    top: int = 0  # first row shown
    rows: list[Key | None] = field(default_factory=list)
    page: int = 1  # rows that fit
    choosing: bool = False  # there is something to choose

    def fit(self, rows: list[Key | None], page: int) -> Place:
        """Return the place in a list of these rows, on a page of so many; the chosen one is on it."""
        choosing = any(rows)
        cursor = self._find(rows) if choosing else 0
        top = self.top
        if choosing:
            covered = int(rows[cursor] is not None and rows[cursor][1] is not None)  # type: ignore[index]
            top = max(min(top, cursor - covered), cursor - page + 1)
            if cursor < page and not any(rows[:cursor]):  # the first that can be chosen: show what stands above it
                top = 0
        top = min(max(0, top), max(0, len(rows) - page))
        chosen = rows[cursor] if choosing else None
        return replace(self, rows=rows, page=page, choosing=choosing, cursor=cursor, chosen=chosen, top=top)

    def _find(self, rows: list[Key | None]) -> int:
        """Return the row of the chosen one; without it, the nearest to where it was."""
        near = min(max(0, self.cursor), len(rows) - 1)
        if self.chosen is not None and rows[near] != self.chosen and self.chosen in rows:
            return rows.index(self.chosen)
        return next(n for n in chain(range(near, len(rows)), range(near, -1, -1)) if rows[n] is not None)

    def move(self, key: str) -> Place | None:
        """Move as this key asks; None when it is none that moves."""
        page = max(1, self.page - 1)  # the head of a service covers the first row
        steps = {"up": -1, "down": 1, "page_up": -page, "page_down": page, "home": -len(self.rows)}
        step = steps.get(key, len(self.rows) if key == "end" else 0)
        if not step:
            return None if key not in (*steps, "end") else self
        if not self.choosing:
            return replace(self, top=self.top + step).fit(self.rows, self.page)
        there = min(max(0, self.cursor + step), len(self.rows) - 1)
        onward = range(there, len(self.rows)) if step > 0 else range(there, -1, -1)
        back = range(there, -1, -1) if step > 0 else range(there, len(self.rows))
        cursor = next(n for n in chain(onward, back) if self.rows[n] is not None)
        return replace(self, cursor=cursor, chosen=self.rows[cursor]).fit(self.rows, self.page)


@dataclass(frozen=True, slots=True)
class View:
    """How the screen is to look. The last of `places` is seen; Esc goes back to the one before."""

    sort: Sort = Sort.NAME
    reverse: bool = False
    filter: str = ""
    typing: bool = False  # the keys go into `filter`
    places: tuple[Place, ...] = field(default=(Place(),))
    paused: bool = False
    quit: bool = False

    @property
    def place(self) -> Place:
        """What is seen."""
        return self.places[-1]

    @property
    def backend(self) -> tuple[str, str] | None:
        """Whom an order would be about: the backend that is chosen, or whose detail is seen."""
        service, backend = self.place.chosen or self.place.about or ("", None)
        return None if backend is None else (service, backend)

    def at(self, place: Place) -> View:
        """Return the view with another place on the same screen."""
        return replace(self, places=(*self.places[:-1], place))

    def handle(self, key: str) -> View:
        """Return the view after one key (named as in `keys`)."""
        if self.typing:
            return self._type(key)
        if key == "q":
            return replace(self, quit=True)
        moved = self.place.move(_LETTERS.get(key, key))
        return self._command(key) if moved is None else self.at(moved)

    def _type(self, key: str) -> View:
        """Take a key while the filter is being written."""
        if key == "enter":
            return replace(self, typing=False)
        if key == "escape":
            return replace(self._filtered(""), typing=False)
        if key == "backspace":
            return self._filtered(self.filter[:-1])
        if key == "ctrl_u":
            return self._filtered("")
        if len(key) == 1:
            return self._filtered(self.filter + key)
        moved = self.place.move(key)
        return self.at(moved) if moved else self

    def _filtered(self, text: str) -> View:
        """Return the view with this filter, from its first row."""
        return replace(self, filter=text).at(_first(self.place))

    def _command(self, key: str) -> View:
        """Take a key that neither types nor moves."""
        match key:
            case "enter":
                return self._open(Place(Screen.DETAIL, about=self.place.chosen)) if self.place.chosen else self
            case "e" | "v" | "b":
                return self._open(Place(_OPENED_BY[key]))
            case "escape":
                return self._back()
            case "p" | " ":
                return replace(self, paused=not self.paused)
            case "?" | "h":
                return self._open(Place(Screen.HELP))
        return self._order(key) if self.place.screen in (Screen.SERVICES, Screen.DETAIL) else self

    def _order(self, key: str) -> View:
        """Take a key about the order of backends."""
        match key:
            case "s" | "right":
                return self._sort_by(+1)
            case "S" | "left":
                return self._sort_by(-1)
            case "r":
                return replace(self, reverse=not self.reverse).at(_first(self.place))
            case "/" if self.place.screen is Screen.SERVICES:
                return replace(self, typing=True)
        return self

    def _open(self, place: Place) -> View:
        """Go to a screen; to one that is open already, by closing what is above it."""
        same = [(other.screen, other.about) for other in self.places]
        here = (place.screen, place.about)
        return replace(self, places=self.places[: same.index(here) + 1] if here in same else (*self.places, place))

    def _back(self) -> View:
        """Leave the screen; on the first one, drop the filter."""
        if len(self.places) > 1:
            return replace(self, places=self.places[:-1])
        return self._filtered("") if self.filter else self

    def _sort_by(self, step: int) -> View:
        """Go to the next order, or to the one before."""
        following = _SORTS[(_SORTS.index(self.sort) + step) % len(_SORTS)]
        return replace(self, sort=following, reverse=False).at(_first(self.place))


def _first(place: Place) -> Place:
    """Return the place at the first row of the same screen."""
    return replace(place, top=0, cursor=0, chosen=None)
