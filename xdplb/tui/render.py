"""One frame of the screen: head, table, foot. Nothing is decided here but what fits.

xdplb main   eth0 native   program 12   running 3 d 4 h                 data 0 s old
1.24M pkt/s   8.91G bit/s   12.3k conn/s                3 backends: 2 up, 1 down
a notice: the daemon is silent, the reconcile failed, paused; or else the order and the filter
titles, rows
verdicts
keys
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from xdplb.tui.figures import count, duration, si
from xdplb.tui.listing import Row, list_rows
from xdplb.tui.rates import Rate, Rates, Status
from xdplb.tui.table import STATE_STYLES, Cell, fit_columns, line, row_line, title_line
from xdplb.tui.view import View

_HEAD = 4  # lines above the rows, with the titles
_TALL = 30  # from this height on, verdicts may take four lines, else two

_HELP = """\
Keys
  up down, j k     scroll by a line        s S   next, previous order
  PgUp PgDn        scroll by a page        r     turn the order round
  Home End, g G    first row, last row     /     filter: Enter keeps, Esc drops
  p, space         pause, go on            q     quit

Columns
  share/weight     share of the connections of the last 10 s (of the packets, if
                   there are none) / the share that the weight asks for; yellow
                   where chance does not explain the difference
  pkt/s bit/s      sent to the backend; bits as they came, without outer header
  conn/s           TCP SYNs; always 0 for UDP
  history          packets/s of the last answers, from 0 to the largest

Filter: every word occurs in a backend's name, address or state, or in its
service's name or VIPs.
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture: at most `height` lines of at most `width` cells; and the view, bounded by what was there."""

    lines: list[Text]
    view: View

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines


def render(
    status: Status, rates: Rates, view: View, width: int, height: int, age_s: float, gone: bool = False
) -> Frame:
    """Return the frame for a terminal of this size.

    `age_s` is the time since the daemon last answered; `gone` says that it should have answered again by now.
    """
    foot = [*_verdict_lines(status, rates, width, 4 if height >= _TALL else 2), _keys_line(view, width)]
    page = max(1, height - _HEAD - len(foot))
    rows = list_rows(status, rates, view)
    view = view.fit(len(rows), page)
    head = [
        _identity_line(status, width, age_s, gone),
        _totals_line(status, rates, width),
        _notice_line(status, view, width, age_s, gone),
    ]
    if view.help:
        body = [line([Cell(text)], width) for text in _HELP.splitlines()][: page + 1]
    else:
        widths = fit_columns(status, width)
        body = [title_line(widths, view, width)]
        body += [row_line(row, rates, widths, width) for row in _visible(rows, view)]
    blank = [Text("")] * (page + 1 - len(body))
    foot[-1] = _spread(foot[-1], _place(rows, view), width)
    return Frame([*head, *body, *blank, *foot][:height], view)


def _visible(rows: list[Row], view: View) -> list[Row]:
    """Return the rows of the page. On top stays a service's head, while its backends scroll below."""
    shown = rows[view.top : view.top + view.page]
    if len(shown) > 1 and shown[0].backend is not None:
        shown[0] = Row(shown[0].service)
    return shown


def _identity_line(status: Status, width: int, age_s: float, gone: bool) -> Text:
    """Return who this is, and how old what it says is."""
    interface = status["interface"]
    cells = [
        Cell("xdplb ", "bold"),
        Cell(status["name"], "bold"),
        Cell(f"   {interface['name']} {interface['mode'] or 'has no program'}"),
        Cell(f"   program {interface['program_id']}"),
        Cell(f"   running {duration(status['now'] - status['started'])}"),
    ]
    age = Cell(f"data {age_s:.0f} s old", "bold red" if gone else "dim")
    return _spread(line(cells, width), [age], width)


def _totals_line(status: Status, rates: Rates, width: int) -> Text:
    """Return what the whole balancer forwards, and how many backends are in which state."""
    rate = rates.forwarded
    left = line(_rate_cells(rate), width)
    states = Counter(one["state"] for service in status["services"] for one in service["backends"])
    right = [Cell(f"{states.total()} backends: ")]
    for state in STATE_STYLES:
        if states[state]:
            right += [Cell(f"{states[state]} {state}", STATE_STYLES[state]), Cell(", ")]
    return _spread(left, right[:-1] if len(right) > 1 else [Cell("no backends")], width)


def _rate_cells(rate: Rate | None) -> list[Cell]:
    """Return a rate with its units, in columns that stand still."""
    figures = (rate.packets, rate.bits, rate.connections) if rate else (None, None, None)
    cells = []
    for figure, unit in zip(figures, ("pkt/s", "bit/s", "conn/s"), strict=True):
        cells += [Cell(si(figure).rjust(5), "bold"), Cell(f" {unit}   ")]
    return cells


def _notice_line(status: Status, view: View, width: int, age_s: float, gone: bool) -> Text:
    """Return what the reader must know first."""
    cells: list[Cell] = []
    error = (status.get("reconcile") or {}).get("error")
    if gone:
        cells.append(Cell(f"no answer from the daemon for {age_s:.0f} s; forwarding goes on   ", "bold red"))
    elif error:
        cells.append(Cell(f"the tables are not as desired: {error}   ", "bold red"))
    if view.paused:
        cells.append(Cell("PAUSED, p goes on   ", "bold yellow"))
    if view.filter:
        cells.append(Cell(f"filter: {view.filter}   ", "bold cyan"))
    if not gone and not error:
        cells.append(Cell(f"sorted by {view.sort}{', reversed' if view.reverse else ''}", "dim"))
    return line(cells, width)


def _verdict_lines(status: Status, rates: Rates, width: int, most: int) -> list[Text]:
    """Return why packets were not forwarded, the fastest growing first, on at most so many lines."""
    verdicts = [(name, total, rates.verdicts[name]) for name, total in status["verdicts"].items() if total]
    verdicts.sort(key=lambda verdict: (-(verdict[2] or 0), -verdict[1]))
    errors = status["interface"].get("xdp_tx_errors")
    if errors is not None:
        verdicts.insert(0, ("xdp_tx_errors", errors, rates.tx_errors))
    pieces = [_verdict_cells(*verdict) for verdict in verdicts] or [[Cell("every packet was forwarded", "dim")]]
    lines: list[list[Cell]] = [[]]
    for shown, piece in enumerate(pieces):
        size = sum(cell_len(cell.text) for cell in piece)
        if lines[-1] and sum(cell_len(cell.text) for cell in lines[-1]) + size > width:
            if len(lines) == most:
                lines[-1].append(Cell(f"+{len(pieces) - shown}", "dim"))
                break
            lines.append([])
        lines[-1] += piece
    return [line(cells, width) for cells in lines]


def _verdict_cells(name: str, total: int, per_s: float | None) -> list[Cell]:
    """Return one reason: red while packets are lost for it."""
    lost = not name.startswith("passed") and bool(per_s)
    return [Cell(name, "bold red" if lost else ""), Cell(f": {count(total)} ({si(per_s)}/s)   ")]


def _keys_line(view: View, width: int) -> Text:
    """Return what can be pressed now, or the filter while it is typed."""
    if view.typing:
        return line([Cell("/" + view.filter, "bold"), Cell(" ", "reverse"), Cell("  Enter keeps, Esc drops")], width)
    if view.help:
        return line([Cell("any key: back   q: quit")], width)
    keys = "q quit  s sort  r reverse  / filter  p pause  ? help"
    return line([Cell(keys, "dim")], width)


def _place(rows: list[Row], view: View) -> list[Cell]:
    """Return which of the rows are on the page."""
    if view.help:
        return []
    if not rows:
        return [Cell("nothing matches the filter" if view.filter else "no services", "yellow")]
    return [Cell(f"{view.top + 1}-{min(view.top + view.page, len(rows))} of {len(rows)}", "dim")]


def _spread(left: Text, right: list[Cell], width: int) -> Text:
    """Return a line with something at its right end, for which the left one makes room."""
    end = line(right, width)
    room = width - end.cell_len - 1
    if room < 1:
        return left
    left.truncate(room, overflow="ellipsis")
    gap = width - left.cell_len - end.cell_len
    return Text.assemble(left, " " * gap, end, no_wrap=True, overflow="crop")
