"""The foot of the screen: the newest events, why packets were not forwarded, and what can be pressed or answered."""

from __future__ import annotations

from rich.text import Text

from xdplb.tui.cells import Cell, line, pack, spread, wrap
from xdplb.tui.figures import count, si
from xdplb.tui.journal import pane
from xdplb.tui.order import Dialog, Step
from xdplb.tui.scene import TALL, Scene
from xdplb.tui.styles import BAD, FAINT, GOOD, STRONG, TITLES, WARN
from xdplb.tui.view import Screen

_EVENTS = 6  # lines of the pane on a tall screen
_KEYS = {
    Screen.SERVICES: "q quit  s sort  / filter  ⏎ open  d drain  u undrain  w weight  ? help",
    Screen.DETAIL: "Esc back  ⏎ open  d drain  u undrain  w weight  e events  ? help",
    Screen.EVENTS: "Esc back  ↑↓ scroll  v reasons  b guard  ? help",
    Screen.REASONS: "Esc back  ↑↓ scroll  e events  b guard  ? help",
    Screen.HELP: "Esc back  ↑↓ scroll  q quit",
    Screen.GUARD: "Esc back  t top sources  e events  v reasons  ? help",
}


def foot_lines(scene: Scene, width: int, height: int) -> list[Text]:
    """Return the lines of the foot; the last one is for keys."""
    lines: list[Text] = []
    if scene.view.place.screen in (Screen.SERVICES, Screen.DETAIL):
        lines += _events(scene, width, height)
        lines += _verdicts(scene, width, 4 if height >= TALL else 2)
    return [*lines, *_last_lines(scene, width)]


def _events(scene: Scene, width: int, height: int) -> list[Text]:
    """Return the newest events; on a small screen the last one."""
    now = scene.status["now"]
    if height < TALL:
        return pane(scene.journal, width, 1, now)
    told = pane(scene.journal, width, _EVENTS, now)
    title = line([Cell("events (e: all)".ljust(width), TITLES)], width)
    return [title, *told] if told else []


def _verdicts(scene: Scene, width: int, most: int) -> list[Text]:
    """Return why packets were not forwarded, the fastest growing first, on at most so many lines."""
    rates = scene.rates.verdicts
    verdicts = [(name, total, rates[name]) for name, total in scene.status["verdicts"].items() if total]
    verdicts.sort(key=lambda verdict: (-(verdict[2] or 0), -verdict[1]))
    pieces = [_verdict(*verdict) for verdict in verdicts] or [[Cell("every packet was forwarded", FAINT)]]
    return pack(pieces, width, most)


def _verdict(name: str, total: int, per_s: float | None) -> list[Cell]:
    """Return one reason: red while packets are lost for it."""
    lost = name.startswith("dropped") and bool(per_s)
    return [Cell(name, BAD if lost else ""), Cell(f": {count(total)} ({si(per_s)}/s)   ")]


def _last_lines(scene: Scene, width: int) -> list[Text]:
    """Return what can be pressed now; the filter or the weight while it is typed; what the daemon asks or tells."""
    view = scene.view
    if view.typing:
        typed = line([Cell("/" + view.filter, STRONG), Cell(" ", "reverse"), Cell("  Enter keeps, Esc drops")], width)
        return [spread(typed, _place(scene), width)]
    keys = _KEYS[view.place.screen]
    if scene.playback:
        keys = "q quit  space pause  ←→ 10 s  +- speed  ⏎ open  e events  v reasons  ? help"
    last = spread(line([Cell(keys, FAINT)], width), _place(scene), width)
    return [last] if scene.dialog.step is Step.NONE else [*dialog_lines(scene.dialog, width), last]


def dialog_lines(dialog: Dialog, width: int) -> list[Text]:
    """Return what is said about an order."""
    match dialog.step:
        case Step.TYPING:
            order = dialog.order
            name = f"{order.service}/{order.backend}" if order else ""
            text = [Cell(f"weight of {name}: {dialog.text}", STRONG), Cell(" ", "reverse")]
            return [line([*text, Cell("  Enter asks what it would do, Esc drops")], width)]
        case Step.ASKING:
            return [line([Cell(f"{dialog.order}? asking the daemon what that would do; Esc drops", STRONG)], width)]
        case Step.CONFIRM:
            alone = wrap("no other backend of this service serves: new flows would be dropped", width, BAD)
            question = wrap(f"{dialog.order}? {dialog.text}. y/n", width, STRONG)
            return [*(alone if dialog.alone else []), *question]
        case Step.SENT:
            return [line([Cell(f"{dialog.order}: sent", STRONG)], width)]
        case Step.TOLD:
            return wrap(dialog.text, width, f"{STRONG} {BAD if dialog.wrong else GOOD}")[:3]
    return []


def _place(scene: Scene) -> list[Cell]:
    """Return which of the rows are on the page."""
    place = scene.view.place
    if not place.rows:
        empty = place.screen is Screen.SERVICES
        return [Cell("nothing matches the filter" if scene.view.filter else "no services", WARN)] if empty else []
    shown = min(place.top + place.page, len(place.rows))
    return [Cell(f"{place.top + 1}-{shown} of {len(place.rows)}", FAINT)]
