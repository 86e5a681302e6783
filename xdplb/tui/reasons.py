"""The screen of reasons: why packets were not forwarded, how fast each grows, and how that was in the last minutes;
and of those that grow what to do."""

from __future__ import annotations

from rich.text import Text

from xdplb.reasons import NOTHING, REASONS
from xdplb.tui.cells import Cell, fit, line, wrap
from xdplb.tui.figures import count, si, sparkline
from xdplb.tui.scene import Body, Scene
from xdplb.tui.styles import BAD, FAINT, TITLES

_NAME = 25


def reasons_body(scene: Scene, width: int) -> Body:
    """Return a line for each reason: those that grow first, then those that ever were, then the others by name."""
    rates, totals = scene.rates.verdicts, scene.status["verdicts"]
    order = sorted(totals, key=lambda name: (-(rates[name] or 0), -totals[name]))
    title = Cell(fit(f"{'reason':{_NAME}}{'packets':>8}{'now/s':>8}  packets/s of the last answers", width), TITLES)
    lines = [line([title], width)]
    for name in order:
        lines.append(_reason_line(scene, name, totals[name], rates[name], width))
        if rates[name] and (known := REASONS.get(name)) and known.fix != NOTHING:
            lines += wrap(f"    {known.fix}", width, FAINT, "    ")
    return [(None, one) for one in lines]


def _reason_line(scene: Scene, name: str, total: int, per_s: float | None, width: int) -> Text:
    lost = name.startswith("dropped") and bool(per_s)
    figures = f"{count(total):>8}{si(per_s):>8}"
    style = BAD if lost else "" if total else FAINT
    cells = [Cell(fit(name, _NAME), style), Cell(figures, "" if total else FAINT)]
    if total:
        cells.append(Cell("  " + sparkline(scene.rates.reasons[name], width - _NAME - 18)))
    return line(cells, width)
