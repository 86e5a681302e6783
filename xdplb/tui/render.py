"""One frame of the screen: head, the body of the screen that is seen, foot. Nothing is decided here but what fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from xdplb.tui.cells import Cell, fit, line
from xdplb.tui.detail import detail_body
from xdplb.tui.foot import foot_lines
from xdplb.tui.guarding import guard_body
from xdplb.tui.head import head_lines
from xdplb.tui.help import help_lines
from xdplb.tui.journal import event_line
from xdplb.tui.listing import Row
from xdplb.tui.reasons import reasons_body
from xdplb.tui.scene import Body, Scene
from xdplb.tui.styles import CURSOR, FAINT
from xdplb.tui.table import fit_columns, row_line, title_line
from xdplb.tui.view import Place, Screen, View


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture: at most `height` lines of at most `width` cells; and the view, bounded by what was there."""

    lines: list[Text]
    view: View

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines


def render(scene: Scene, width: int, height: int) -> Frame:
    """Return the frame for a terminal of this size."""
    head, foot = head_lines(scene, width, height), foot_lines(scene, width, height)
    page = max(1, height - len(head) - len(foot))
    if scene.view.place.screen is Screen.SERVICES:
        body, view = _table(scene, width, page)
    else:
        body, view = _text(scene, _BODIES[scene.view.place.screen](scene, width), width, page)
    foot = foot_lines(_at(scene, view), width, height)  # now that it is known which rows are on the page
    blank = [Text("")] * (page - len(body))
    return Frame([*head, *body, *blank, *foot][:height], view)


def _at(scene: Scene, view: View) -> Scene:
    """Return the scene with another view."""
    fields = {name: getattr(scene, name) for name in scene.__slots__}
    return Scene(**fields | {"view": view})


def _table(scene: Scene, width: int, page: int) -> tuple[list[Text], View]:
    """Return the table of services and backends, of which only the visible rows are made."""
    place = scene.view.place.fit(scene.listed.keys, max(1, page - 1))
    widths = fit_columns(scene.listed, width)
    lines = [title_line(widths, scene.view, width)]
    for number, row in enumerate(_visible(scene.listed.rows, place), place.top):
        text = row_line(row, scene.rates, widths, width)
        lines.append(marked(text, width) if number == place.cursor else text)
    return lines[:page], scene.view.at(place)


def _visible(rows: Sequence[Row], place: Place) -> list[Row]:
    """Return the rows of the page. On top stays a service's head, while its backends scroll below."""
    shown = list(rows[place.top : place.top + place.page])
    if len(shown) > 1 and shown[0].backend is not None:
        shown[0] = Row(shown[0].service)
    return shown


def _text(scene: Scene, body: Body, width: int, page: int) -> tuple[list[Text], View]:
    """Return lines that scroll; the chosen one is marked."""
    place = scene.view.place.fit([key for key, _ in body], page)
    lines = [text if isinstance(text, Text) else text() for _, text in body[place.top : place.top + page]]
    if place.choosing:
        at = place.cursor - place.top
        lines[at] = marked(lines[at], width)
    return lines, scene.view.at(place)


def marked(text: Text, width: int) -> Text:
    """Return a line under the cursor: without its colours, which the other way round are a patchwork."""
    return line([Cell(fit(text.plain, width), CURSOR)], width)


def _events_body(scene: Scene, width: int) -> Body:
    """Return all events, newest first."""
    problem = scene.journal.problem
    lines = [event_line(event, width, scene.status["now"]) for event in reversed(scene.journal.events)]
    if problem or not lines:
        lines.insert(0, line([Cell(problem or "nothing has happened yet", FAINT)], width))
    return [(None, text) for text in lines]


def _help_body(scene: Scene, width: int) -> Body:
    """Return every key, and what the columns mean."""
    return [(None, line([Cell(text)], width)) for text in help_lines(width)]


_BODIES: dict[Screen, Callable[[Scene, int], Body]] = {
    Screen.DETAIL: detail_body,
    Screen.EVENTS: _events_body,
    Screen.REASONS: reasons_body,
    Screen.GUARD: guard_body,
    Screen.HELP: _help_body,
}
