"""The table: which columns fit, and one line of text for each visible row."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from xdplb.model import State
from xdplb.tui.cells import Cell, cut, fit, line, used
from xdplb.tui.figures import percent, si, sparkline
from xdplb.tui.listing import Listed, Row
from xdplb.tui.rates import BackendRates, History, Rate, Rates
from xdplb.tui.styles import BAD, FAINT, GOOD, NOTE, STRONG, TITLES, WARN, of_state
from xdplb.tui.view import Sort, View

_ORDER = (
    "backend", "address", "state", "weight", "share", "packets", "bits", "connections", "flows", "history", "reason"
)  # fmt: skip
_IMPORTANCE = (
    "backend", "state", "packets", "share", "connections", "flows", "bits", "weight", "history", "address", "reason"
)  # fmt: skip
_TITLES = {"packets": "pkt/s", "bits": "bit/s", "connections": "conn/s", "share": "share/weight", "flows": "flows left"}
_WIDTHS = {
    "state": 11,
    "weight": 7,
    "share": 13,
    "packets": 6,
    "bits": 6,
    "connections": 7,
    "flows": 10,
    "history": 10,
    "reason": 24,
}
_RIGHT = {"weight", "share", "packets", "bits", "connections", "flows"}
_FIGURES = ("packets", "bits", "connections", "history")  # what a service has too
_SORTED = {
    Sort.NAME: "backend",
    Sort.STATE: "state",
    Sort.WEIGHT: "weight",
    Sort.PACKETS: "packets",
    Sort.BITS: "bits",
    Sort.CONNECTIONS: "connections",
    Sort.SHARE_ERROR: "share",
}
_HISTORY = 20  # cells, at the most
_NAME = 14  # a comfortable width
_LONGEST_NAME = 24


Widths = dict[str, int]  # of the columns that are shown, in their order


def fit_columns(listed: Listed, width: int) -> Widths:
    """Choose the columns: the important ones first; what is left goes to names, history and reason.

    Flows left are there only while some are.
    """
    wanted = _WIDTHS | {"backend": min(max(listed.name, 8), _LONGEST_NAME), "address": max(listed.address, 8)}
    left, chosen = width, {}
    for column in _IMPORTANCE:
        if wanted[column] + 1 <= left and (column != "flows" or listed.remembers):
            chosen[column] = wanted[column]
            left -= wanted[column] + 1
    _widen(chosen, left, {"backend": max(_NAME, listed.name), "history": _HISTORY, "reason": width})
    return {column: chosen[column] for column in _ORDER if column in chosen}


def _widen(chosen: Widths, left: int, wishes: Widths) -> None:
    """Give away the cells that are left, in the order of the wishes."""
    for column, wish in wishes.items():
        if column in chosen and left > 0:
            more = min(left, max(0, wish - chosen[column]))
            chosen[column] += more
            left -= more


def title_line(widths: Widths, view: View, width: int) -> Text:
    """Return the line of column titles; an arrow stands at the one that orders the rows."""
    falls = view.reverse if view.sort is Sort.NAME else not view.reverse
    titles = []
    for column, cells in widths.items():
        title = _TITLES.get(column, column)
        if column == _SORTED[view.sort]:
            title += "▼" if falls else "▲"
        titles.append(title.rjust(cells) if column in _RIGHT else fit(title, cells))
    return line([Cell(fit(" " + " ".join(titles), width), TITLES)], width)


def row_line(row: Row, rates: Rates, widths: Widths, width: int) -> Text:
    """Return the line of a row."""
    if row.backend is None:
        return _service_line(row.service, rates, widths, width)
    return _backend_line(row.backend, rates.backends[row.service["name"], row.backend["name"]], widths, width)


def _backend_line(backend: dict[str, Any], rates: BackendRates, widths: Widths, width: int) -> Text:
    """Return a backend's line. A reason without a column stands in place of figures that are all 0."""
    quiet = backend["state"] != State.UP and (rates.rate is None or rates.rate.packets == 0)
    instead = quiet and "reason" not in widths
    cells: list[Cell] = []
    for column, size in widths.items():
        if instead and column in ("share", *_FIGURES):
            continue
        text, style = _cell(column, backend, rates, size)
        text = text.rjust(size) if column in _RIGHT else fit(text, size)
        cells += [Cell(" "), Cell(text, style)]
    if instead:
        cells += [Cell("  "), Cell(cut(backend["reason"], width - used(cells) - 2), of_state(backend["state"]))]
    return line(cells, width)


def _service_line(service: dict[str, Any], rates: Rates, widths: Widths, width: int) -> Text:
    """Return a service's line: name, how many are up, VIPs, then the sums in the columns of the backends."""
    figures = [column for column in widths if column in _FIGURES]
    room = sum(size + 1 for column, size in widths.items() if column not in (*_FIGURES, "reason"))
    cells: list[Cell] = []
    for text, style in _service_head(service):
        cells.append(Cell(cut(text, room - used(cells)), style))
    cells.append(Cell(" " * (room - used(cells))))
    sums = rates.services[service["name"]]
    for column in figures:
        text, style = _figure(column, sums.rate, sums.history, widths[column])
        cells.append(Cell(" " + text.rjust(widths[column]), style or STRONG))
    return line(cells, width)


def _service_head(service: dict[str, Any]) -> list[Cell]:
    """Return what a service's line begins with."""
    own = [one for one in service["backends"] if not one["fallback"]]
    total, up = len(own), sum(one["state"] == State.UP for one in own)
    style = GOOD if up == total else WARN if up else BAD
    protocols = {vip.rpartition("/")[2] for vip in service["vips"]}
    vips = service["vips"]
    if len(protocols) == 1:  # say it once
        vips = [vip.rpartition("/")[0] for vip in vips]
    protocol = protocols.pop() if len(protocols) == 1 else ""
    return [
        Cell(service["name"], STRONG),
        Cell(f" {protocol}" if protocol else ""),
        Cell(f" {up}/{total} up", style),
        Cell(_slots(service), NOTE),
        Cell("  " + " ".join(vips), STRONG),
    ]


def _slots(service: dict[str, Any]) -> str:
    """Return how many slots are not settled, if any."""
    counts = [(service.get(f"{state}_slots", 0), state) for state in ("moving", "moved")]
    return "  " * any(n for n, _ in counts) + ", ".join(
        f"{n:,}/{service['ring_size']:,} {state}" for n, state in counts if n
    )


def _cell(column: str, backend: dict[str, Any], rates: BackendRates, size: int) -> Cell:
    """Return what stands in one of a backend's columns."""
    match column:
        case "state":
            return Cell(backend["state"], of_state(backend["state"]))
        case "share":  # in colour when chance does not explain the difference
            both = f"{percent(rates.share)} / {percent(rates.weight_share)}"
            return Cell(both, WARN if rates.skewed else "")
        case "reason":
            return Cell(backend["reason"], FAINT if backend["state"] == State.UP else of_state(backend["state"]))
        case "backend":
            return Cell(backend["name"])
        case "flows":
            return Cell(si(backend.get("flows_left", 0)))
        case "address" | "weight":
            return Cell(str(backend[column]))
    return _figure(column, rates.rate, rates.history, size)


def _figure(column: str, rate: Rate | None, history: History, size: int) -> Cell:
    """Return one of the figures that change with every second."""
    if column == "history":
        return Cell(sparkline(history, size), FAINT)
    return Cell(si(None if rate is None else getattr(rate, column)))
