"""Columns come and go with the width; a line says what the status says."""

from __future__ import annotations

import pytest

from xdplb.tui.fake_daemon import FakeDaemon, large, make_backend, make_service, small
from xdplb.tui.listing import Row, list_all
from xdplb.tui.rates import Meter, Status
from xdplb.tui.table import Widths, fit_columns, row_line, title_line
from xdplb.tui.view import Sort, View


def columns_for(status: Status, width: int) -> Widths:
    return fit_columns(list_all(status, Meter().take(status), View()), width)


def backend_line(daemon: FakeDaemon, width: int, number: int = 0) -> str:
    meter = Meter()
    meter.take(daemon.status())
    daemon.advance(1.0)
    status = daemon.status()
    service = status["services"][0]
    row = Row(service, service["backends"][number])
    return row_line(row, meter.take(status), columns_for(status, width), width).plain


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (20, "backend packets"),
        (30, "backend state packets"),
        (60, "backend state share packets bits connections"),
        (80, "backend state weight share packets bits connections history"),
        (95, "backend address state weight share packets bits connections history"),
        (120, "backend address state weight share packets bits connections history reason"),
    ],
)
def test_the_important_columns_stay_longest(width: int, columns: str) -> None:
    widths = columns_for(small().status(), width)

    assert list(widths) == columns.split()
    assert sum(size + 1 for size in widths.values()) <= width


@pytest.mark.parametrize("width", [10, 40, 79, 80, 81, 120, 200, 500])
def test_columns_never_exceed_the_width(width: int) -> None:
    daemon = large(30)
    daemon.services[0]["backends"][3]["name"] = "a-backend-with-a-name-that-goes-on-and-on"

    assert sum(size + 1 for size in columns_for(daemon.status(), width).values()) <= width


def test_a_backends_line_has_its_figures_in_words_too() -> None:
    daemon = small()
    daemon.set_state("web", "b2", "draining", "an operator asked for no new flows")

    words = backend_line(daemon, 200, 1).split()
    assert words[:4] == ["b2", "10.0.12.2", "draining", "100"]
    assert " ".join(words[-7:]) == "an operator asked for no new flows"


def test_a_reason_without_a_column_stands_where_figures_are_zero() -> None:
    daemon = small()
    daemon.set_state("web", "b2", "down", "tcp 10.0.12.2:80 refused the connection")

    assert backend_line(daemon, 80, 1).split(maxsplit=3) == [
        "b2", "down", "100", "tcp 10.0.12.2:80 refused the connection"
    ]  # fmt: skip
    assert "connected" not in backend_line(daemon, 80, 0)


def test_square_brackets_are_not_markup() -> None:
    backend = make_backend("[red]b1[/red]", "[fd00::9]")
    backend["reason"] = "tcp [fd00::9]:80 [bold]connected[/bold] :smile:"
    daemon = FakeDaemon([make_service("web", ["[2001:db8::10]:80/tcp"], [backend])])

    shown = backend_line(daemon, 200)
    assert shown.split()[:2] == ["[red]b1[/red]", "[fd00::9]"]
    assert "tcp [fd00::9]:80 [bold]connected[/bold] :smile:" in shown


def test_control_characters_do_not_reach_the_terminal() -> None:
    backend = make_backend("b\x1b[2J1", "10.0.11.2")
    daemon = FakeDaemon([make_service("web", ["192.0.2.10:80/tcp"], [backend])])

    assert backend_line(daemon, 80).split()[0] == "b?[2J1"


def test_a_services_line_says_its_protocol_once_and_its_sums_in_the_columns_of_its_backends() -> None:
    meter, daemon = Meter(), small()
    meter.take(daemon.status())
    daemon.advance(1.0)
    status = daemon.status()
    rates, widths = meter.take(status), columns_for(status, 80)
    head = row_line(Row(status["services"][0]), rates, widths, 80).plain
    title = title_line(widths, View(), 80).plain

    assert head.startswith("web tcp 3/3 up  192.0.2.10:80 [2001:db8::10]:80 ")
    end = title.index("pkt/s") + len("pkt/s")
    assert head[:end].endswith("M")


def test_vips_of_two_protocols_keep_theirs() -> None:
    status = FakeDaemon([make_service("dns", ["192.0.2.53:53/udp", "192.0.2.53:53/tcp"], [])]).status()
    head = row_line(Row(status["services"][0]), Meter().take(status), columns_for(status, 200), 200).plain

    assert head.startswith("dns 0/0 up  192.0.2.53:53/udp 192.0.2.53:53/tcp ")


def test_an_arrow_stands_at_the_column_that_orders() -> None:
    widths = columns_for(small().status(), 80)

    assert "backend▲" in title_line(widths, View(), 80).plain
    assert "backend▼" in title_line(widths, View(reverse=True), 80).plain
    assert "pkt/s▼" in title_line(widths, View(sort=Sort.PACKETS), 80).plain
    assert "share/weight▲" in title_line(widths, View(sort=Sort.SHARE_ERROR, reverse=True), 80).plain


def test_while_slots_are_changing_their_flows_have_a_column_and_the_service_says_so() -> None:
    daemon = small()
    daemon.services[0]["backends"][1]["flows_left"] = 1234
    daemon.services[0] |= {"moving_slots": 341, "moved_slots": 0}
    meter = Meter()
    status = daemon.status()
    rates, widths = meter.take(status), columns_for(status, 120)

    assert "flows" in widths
    assert "flows left" in title_line(widths, View(), 120).plain
    service = status["services"][0]
    assert " 1.23k " in row_line(Row(service, service["backends"][1]), rates, widths, 120).plain
    assert "341/1,024 moving  192.0.2.10:80" in row_line(Row(service, None), rates, widths, 120).plain
