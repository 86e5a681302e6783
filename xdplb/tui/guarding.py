"""The screen of the guard: its lists, what it drops and spares, and on demand who sends most."""

from __future__ import annotations

from rich.text import Text

from xdplb.tui.cells import Cell, fit, line, wrap
from xdplb.tui.figures import count, si, sparkline
from xdplb.tui.scene import Body, Scene, Sources
from xdplb.tui.styles import BAD, FAINT, NOTE, TITLES, WARN

GUARDED = ("dropped_blocked", "dropped_packet_rate", "dropped_connection_rate", "dropped_service_rate")
_NAME = 25


def guard_body(scene: Scene, width: int) -> Body:
    """Return the lines of the screen."""
    lists = scene.status.get("guard", {"blocked": 0, "allowed": 0})
    lines = [line([Cell(f"{lists['blocked']:,} prefixes blocked, {lists['allowed']:,} allowed")], width), Text("")]
    lines += _counters(scene, width)
    lines += [Text(""), *_sources(scene.sources, width)]
    return [(None, one) for one in lines]


def _counters(scene: Scene, width: int) -> list[Text]:
    """Return what was dropped for the guard's reasons, and what would have been where it only counts."""
    status, rates = scene.status, scene.rates
    lines = [line([Cell(fit(f"{'reason':{_NAME}}{'packets':>8}{'now/s':>8}  history", width), TITLES)], width)]
    for name in GUARDED:
        if name in status["verdicts"]:
            total, per_s = status["verdicts"][name], rates.verdicts[name]
            lines.append(_counter(scene, name, name, total, per_s, BAD, width))
    for name, total in status.get("spared", {}).items():
        lines.append(_counter(scene, f"spared {name}", f"would drop: {name}", total, rates.spared[name], WARN, width))
    return lines


def _counter(scene: Scene, key: str, name: str, total: int, per_s: float | None, style: str, width: int) -> Text:
    history = sparkline(scene.rates.reasons[key], width - _NAME - 18) if total else ""
    cells = [Cell(fit(name, _NAME), style if per_s else "" if total else FAINT)]
    return line([*cells, Cell(f"{count(total):>8}{si(per_s):>8}  {history}", "" if total else FAINT)], width)


def _sources(sources: Sources, width: int) -> list[Text]:
    """Return who sends most, as far as it is known."""
    if sources.asking:
        return [line([Cell("watching who sends most ...", NOTE)], width)]
    if sources.problem:
        return wrap(sources.problem, width, WARN)
    if sources.found is None:
        return [line([Cell("t: see who sends most", FAINT)], width)]
    if not sources.found:
        return [line([Cell("nobody sent anything", FAINT)], width)]
    room = max(15, *(len(str(one["source"])) for one in sources.found))
    title = f"{'source':{room}}{'packets':>9}  {'service':16}  what became of it"
    return [line([Cell(fit(title, width), TITLES)], width), *(_source(one, room, width) for one in sources.found)]


def _source(one: dict[str, object], room: int, width: int) -> Text:
    reason = str(one.get("reason") or "forwarded")
    packets = count(round(float(str(one["packets"]))))
    cells = [
        Cell(f"{fit(str(one['source']), room)}{packets:>9}  {fit(str(one.get('service') or '-'), 16)}  "),
        Cell(reason, BAD if reason.startswith("dropped") else ""),
    ]
    return line(cells, width)
