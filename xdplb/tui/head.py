"""The head of every screen: who this is, what it forwards, what one must know first, its interfaces.

xdplb main   pid 4711   running 3 d 4 h                                 data 0 s old
1.24M pkt/s   8.91G bit/s   12.3k conn/s                3 backends: 2 up, 1 down
a notice: the daemon is silent, the reconcile failed, unconfirmed, paused; or else the order and the filter
eth0 native   rx 1.24M/s   tx 1.24M/s   xdp_tx_errors 0 (0/s)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from xdplb.tui.cells import Cell, line, spread
from xdplb.tui.figures import count, duration, si
from xdplb.tui.rates import Rate, nics_of
from xdplb.tui.scene import TALL, Scene
from xdplb.tui.styles import ALERT, BAD, FAINT, NOTE, STATES, STRONG, WARN
from xdplb.tui.view import Screen


def head_lines(scene: Scene, width: int, height: int) -> list[Text]:
    """Return the lines of the head; a tall screen has room for more interfaces and warnings."""
    most = 4 if height >= TALL else 1
    return [
        _identity_line(scene, width),
        _totals_line(scene, width),
        *[line(cells, width) for cells in _at_most(_notices(scene), most) if cells],
        *[line(cells, width) for cells in _at_most(_interfaces(scene), most)],
    ]


def _at_most(lines: list[list[Cell]], most: int) -> list[list[Cell]]:
    """Return the first lines; the last of them says how many there are besides."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], [Cell(f"+{len(lines) - most}  ", STRONG), *lines[most - 1]]]


def _identity_line(scene: Scene, width: int) -> Text:
    """Return who this is, and how old what it says is."""
    status = scene.status
    cells = [
        Cell(f"xdplb {status['name']}", STRONG),
        Cell(f"   pid {status['pid']}   running {duration(status['now'] - status['started'])}"),
    ]
    age = Cell(f"data {scene.age_s:.0f} s old", BAD if scene.gone else FAINT)
    return spread(line(cells, width), [Cell(scene.playback, NOTE) if scene.playback else age], width)


def _totals_line(scene: Scene, width: int) -> Text:
    """Return what the whole balancer forwards, and how many backends are in which state."""
    left = line(rate_cells(scene.rates.forwarded), width)
    states = Counter(one["state"] for service in scene.status["services"] for one in service["backends"])
    right = [Cell(f"{states.total()} backends: ")]
    for state in STATES:
        if states[state]:
            right += [Cell(f"{states[state]} {state}", STATES[state]), Cell(", ")]
    return spread(left, right[:-1] if len(right) > 1 else [Cell("no backends")], width)


def rate_cells(rate: Rate | None) -> list[Cell]:
    """Return a rate with its units, in columns that stand still."""
    figures = (rate.packets, rate.bits, rate.connections) if rate else (None, None, None)
    cells = []
    for figure, unit in zip(figures, ("pkt/s", "bit/s", "conn/s"), strict=True):
        cells += [Cell(si(figure).rjust(5), STRONG), Cell(f" {unit}   ")]
    return cells


def _notices(scene: Scene) -> list[list[Cell]]:
    """Return what the reader must know, most urgent first; at least one line."""
    status, found = scene.status, []
    if scene.gone and not scene.playback:
        found.append([Cell(f"no answer from the daemon for {scene.age_s:.0f} s; forwarding goes on   ", BAD)])
    if error := (status.get("reconcile") or {}).get("error"):
        found.append([Cell(f"the tables are not as desired: {error}   ", BAD)])
    if trial := status.get("unconfirmed"):
        text = f" {trial['then']} in {trial['left_s']:.0f} s unless `xdplb confirm`"
        found.append([Cell("unconfirmed:", ALERT), Cell(text, STRONG)])
        found += [[Cell("self-test: ", WARN), Cell(failure)] for failure in trial["failures"]]
    found += [[Cell("warning: ", WARN), Cell(text)] for text in status.get("warnings", [])]
    wanted = _wanted(scene)
    if not found:
        return [wanted]
    return [wanted + found[0], *found[1:]] if scene.view.paused or scene.dialog.read_only else found


def _wanted(scene: Scene) -> list[Cell]:
    """Return what the reader has asked for."""
    view, cells = scene.view, []
    if view.paused:
        cells += [Cell("PAUSED, p goes on", ALERT), Cell("   ")]
    if scene.dialog.read_only:
        cells += [Cell("READ ONLY", ALERT), Cell("   ")]
    if view.filter:
        cells.append(Cell(f"filter: {view.filter}   ", f"{STRONG} {NOTE}"))
    if view.place.screen is Screen.SERVICES:
        cells.append(Cell(f"sorted by {view.sort}{', reversed' if view.reverse else ''}", FAINT))
    elif view.place.screen is not Screen.DETAIL:
        cells.append(Cell(view.place.screen, STRONG))
    return cells


def _interfaces(scene: Scene) -> list[list[Cell]]:
    """Return a line for each interface, those that something is wrong with first."""
    nics = sorted(nics_of(scene.status), key=lambda nic: not _trouble(nic))
    return [_interface(nic, scene.rates.interfaces.get(nic["name"], {})) for nic in nics]


def _interface(nic: Mapping[str, Any], rates: Mapping[str, float | None]) -> list[Cell]:
    trouble = [Cell(f"   {text}", BAD)] if (text := _trouble(nic)) else []
    errors, per_s = nic.get("xdp_tx_errors"), rates.get("xdp_tx_errors")
    told = "unknown" if errors is None else f"{count(errors)} ({si(per_s)}/s)"
    return [
        Cell(nic["name"], STRONG),
        Cell(f" {nic['mode'] or ''}"),
        *trouble,
        Cell(f"   rx {si(rates.get('rx_packets')):>5}/s   tx {si(rates.get('tx_packets')):>5}/s   "),
        Cell("xdp_tx_errors", BAD if per_s else ""),
        Cell(f" {told}"),
    ]


def _trouble(nic: Mapping[str, Any]) -> str:
    """Return what keeps an interface from forwarding, if anything."""
    if "error" in nic:
        return "has vanished"
    if nic.get("program_id") is None:
        return "no program"
    if not nic.get("up", True):
        return "switched off"
    return "" if nic.get("carrier", True) else "no carrier"
