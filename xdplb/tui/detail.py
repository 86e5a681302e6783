"""The screen of one service or one backend: VIPs, slots, flows, rates over time, and each check with its cause."""

from __future__ import annotations

from functools import partial
from typing import Any

from rich.text import Text

from xdplb.tui.cells import Cell, fit, line, wrap
from xdplb.tui.figures import bar, duration, percent, si, sparkline
from xdplb.tui.head import rate_cells
from xdplb.tui.listing import sort_backends
from xdplb.tui.rates import History, Rate, unsettled
from xdplb.tui.scene import Body, Scene
from xdplb.tui.styles import BAD, FAINT, GOOD, NOTE, STRONG, TITLES, WARN, of_state

_INDENT = "    "
_RATES = 48  # cells of a rate with its units


def detail_body(scene: Scene, width: int) -> Body:
    """Return the lines about what was opened; of what is gone meanwhile, that."""
    name, other = scene.view.place.about or ("", None)
    for service in scene.status["services"]:
        if service["name"] == name:
            if other is None:
                return _service_body(scene, service, width)
            for backend in service["backends"]:
                if backend["name"] == other:
                    return [(None, one) for one in _backend_lines(scene, service, backend, width)]
    gone = f"{name}/{other}" if other else name
    return [(None, line([Cell(f"{gone} is gone; Esc goes back", WARN)], width))]


def _service_body(scene: Scene, service: dict[str, Any], width: int) -> Body:
    """Return a service: its own lines, then each backend, which can be chosen, with its checks."""
    rates = scene.rates.services[service["name"]]
    lines = [_title(service["name"], "", width), *wrap("VIPs  " + "  ".join(service["vips"]), width, "", "      ")]
    lines += [*_slot_lines(scene, service, width), *_rate_lines(rates.rate, rates.history, width)]
    body: Body = [(None, one) for one in lines]
    body.append((None, line([Cell(fit("backends", width), TITLES)], width)))
    for backend in _in_order(scene, service):
        body.append(((service["name"], backend["name"]), partial(_backend_line, scene, service, backend, width)))
        for check in backend.get("checks", []):
            body.append((None, partial(_check_line, scene, check, width)))
            if check["warning"]:
                body.append((None, partial(_warning_line, check, width)))
    return body


def _in_order(scene: Scene, service: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the backends as the table has them, but those, too, that its filter leaves away."""
    if scene.view.filter:
        return sort_backends(service["name"], service["backends"], scene.rates, scene.view)
    return [row.backend for row in scene.listed.rows if row.service is service and row.backend]


def _title(name: str, state: str, width: int) -> Text:
    return line([Cell(name, STRONG), Cell("  " + state if state else "", of_state(state))], width)


def _slot_lines(scene: Scene, service: dict[str, Any], width: int) -> list[Text]:
    """Return how the slots are: settled, or how far those that moved are on their way."""
    size, left = service["ring_size"], unsettled(service)
    if not left:
        return [line([Cell(f"ring  {size:,} slots, all settled")], width)]
    moving, moved = service.get("moving_slots", 0), service.get("moved_slots", 0)
    part = scene.rates.settled.get(service["name"], 0.0)
    return [
        line([Cell(f"ring  {size - left:,} of {size:,} slots settled, {moving:,} moving, {moved:,} moved")], width),
        line([Cell(f"      {bar(part, 20)} {part:.0%} of those that moved have settled again", NOTE)], width),
    ]


def _rate_lines(rate: Rate | None, history: History, width: int) -> list[Text]:
    """Return what is sent now, and a sparkline of it over time."""
    samples = list(history)
    lines = [line(rate_cells(rate), width)]
    if samples:
        size = max(10, width - 20)
        lines.append(
            line(
                [
                    Cell(sparkline(samples[-size:], min(size, len(samples)))),
                    Cell(f"  max {si(max(samples[-size:]))}/s", FAINT),
                ],
                width,
            )
        )
    return lines


def _backend_line(scene: Scene, service: dict[str, Any], backend: dict[str, Any], width: int) -> Text:
    """Return a backend on one line."""
    rates = scene.rates.backends[service["name"], backend["name"]]
    figures = f"{si(rates.rate.packets if rates.rate else None):>6} pkt/s  {backend['slots']:>6,} slots"
    flows = backend.get("flows_left", 0)
    cells = [
        Cell(f" {fit(backend['name'], 14)} "),
        Cell(fit(backend["state"], 12), of_state(backend["state"])),
        Cell(f"{figures}  {flows:,} flows left  " if flows else f"{figures}  "),
        Cell(backend["reason"], FAINT if backend["state"] == "up" else of_state(backend["state"])),
    ]
    return line(cells, width)


def _backend_lines(scene: Scene, service: dict[str, Any], backend: dict[str, Any], width: int) -> list[Text]:
    """Return everything about one backend."""
    rates = scene.rates.backends[service["name"], backend["name"]]
    size, slots = service["ring_size"], backend["slots"]
    share = f"share {percent(rates.share)}, its weight asks for {percent(rates.weight_share)}"
    lines = [
        _title(f"{service['name']}/{backend['name']}", backend["state"], width),
        *wrap(backend["reason"], width, of_state(backend["state"])),
        line([Cell(f"address {backend['address']}   weight {backend['weight']}   {_serving(backend)}")], width),
        line(
            [
                Cell(f"{slots:,} of {size:,} slots ({percent(slots / size if size else 0)})   "),
                Cell(share, WARN if rates.skewed else ""),
            ],
            width,
        ),
        line(
            [Cell(f"{backend.get('flows_left', 0):,} flows remembered for it   "), Cell(_totals(backend), FAINT)], width
        ),
        *_rate_lines(rates.rate, rates.history, width),
        line([Cell(fit("checks", width), TITLES)], width),
    ]
    checks = backend.get("checks", [])
    lines += [one for check in checks for one in _check_lines(scene, check, width)]
    return lines if checks else [*lines, line([Cell("none: it counts as up", FAINT)], width)]


def _serving(backend: dict[str, Any]) -> str:
    if backend.get("fallback"):
        return f"lent by {backend['fallback']}"
    return "gets new flows" if backend["serving"] else "gets no new flows"


def _totals(backend: dict[str, Any]) -> str:
    return (
        f"sent {si(backend['packets'])} packets, {si(backend['bytes'])} bytes, {si(backend['connections'])} connections"
    )


def _check_line(scene: Scene, check: dict[str, Any], width: int) -> Text:
    """Return how a check is, since when and why."""
    word, style = {True: ("up", GOOD), False: ("down", BAD), None: ("not known yet", WARN)}[check["up"]]
    since = _age(scene, check["since"])
    what = f"{check['kind']} {check['to']}" + (" through the tunnel" if check["through"] == "tunnel" else "")
    cause = (f" for {since}" if since else "") + (f": {check['cause']}" if check["cause"] else "")
    return line([Cell(f"{_INDENT}{what}  "), Cell(word, style), Cell(cause)], width)


def _warning_line(check: dict[str, Any], width: int) -> Text:
    return line([Cell(f"{_INDENT}  warning: ", WARN), Cell(check["warning"])], width)


def _check_lines(scene: Scene, check: dict[str, Any], width: int) -> list[Text]:
    """Return a check, with what its last probe said and when."""
    lines = [_check_line(scene, check, width)]
    if check["last"]:
        at = _age(scene, check["at"])
        lines += wrap(f"{_INDENT}  last probe{f' {at} ago' if at else ''}: {check['last']}", width, FAINT, _INDENT * 2)
    return [*lines, _warning_line(check, width)] if check["warning"] else lines


def _age(scene: Scene, at: float | None) -> str:
    """Return how long something is ago whose time is in seconds since the boot."""
    booted = scene.status.get("booted")
    return "" if at is None or booted is None else duration(scene.status["now"] - booted - at)
