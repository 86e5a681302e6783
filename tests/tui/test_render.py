"""One frame: it fits the terminal, it says what matters, and every backend can be reached."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.tui.scenes import draw as render
from xdplb.tui.fake_daemon import FakeDaemon, large, small
from xdplb.tui.rates import Meter, Rates, Status
from xdplb.tui.render import Frame
from xdplb.tui.view import Place, Screen, View

SIZES = [(80, 24), (200, 60)]
SCREENS = [View(places=(Place(screen, about=("web", None)),)) for screen in Screen]


def watch(daemon: FakeDaemon, seconds: int = 3) -> tuple[Status, Rates]:
    meter = Meter()
    for _ in range(seconds):
        meter.take(daemon.status())
        daemon.advance(1.0)
    status = daemon.status()
    return status, meter.take(status)


@pytest.fixture(scope="module")
def of_three() -> tuple[Status, Rates]:
    """Three backends, b2 down."""
    daemon = small()
    daemon.set_state("web", "b2", "down", "tcp 10.0.12.2:80 refused the connection")
    return watch(daemon)


@pytest.fixture(scope="module")
def of_thousand() -> tuple[Status, Rates]:
    """A thousand backends of two services."""
    return watch(large(1000))


def text(frame: Frame) -> str:
    return "\n".join(one.plain for one in frame.lines)


def names(frame: Frame) -> list[str]:
    """Return the backends on the page: their lines are indented."""
    return [one.plain.split()[0] for one in frame.lines[5:] if one.plain.startswith(" b")]


@pytest.mark.parametrize("size", [*SIZES, (40, 10), (79, 23), (132, 43), (10, 3), (1, 1), (500, 150)])
@pytest.mark.parametrize("view", [*SCREENS, View(filter="b1 " * 99, typing=True, paused=True)])
def test_a_frame_fits_its_terminal(
    of_three: tuple[Status, Rates],
    of_thousand: tuple[Status, Rates],
    size: tuple[int, int],
    view: View,
) -> None:
    for status, rates in (of_three, of_thousand):
        frame = render(status, rates, view, *size, age_s=5.0, gone=True)
        assert len(frame.lines) == size[1]
        assert max(one.cell_len for one in frame.lines) <= size[0]


@pytest.mark.parametrize("size", SIZES)
def test_rich_prints_exactly_these_lines(of_thousand: tuple[Status, Rates], size: tuple[int, int]) -> None:
    frame = render(*of_thousand, View(), *size, age_s=0.0)
    console = Console(file=io.StringIO(), width=size[0], height=size[1], record=True)
    console.print(frame, soft_wrap=True)

    assert console.export_text() == text(frame) + "\n"


@pytest.mark.parametrize("size", SIZES)
def test_three_backends_are_all_there(of_three: tuple[Status, Rates], size: tuple[int, int]) -> None:
    shown = text(render(*of_three, View(), *size, age_s=0.4))

    assert "xdplb main   pid 4711   running 3 s" in shown
    assert "eth0 native   rx " in shown
    assert "data 0 s old" in shown
    assert "3 backends: 2 up, 1 down" in shown
    assert "web tcp 2/3 up  341/1,024 moving  192.0.2.1" in shown
    assert "tcp 10.0.12.2:80 refused the connection" in shown
    assert "xdp_tx_errors 0 (0/s)" in shown
    assert "passed_no_service: 114 (38/s)" in shown
    assert "dropped_no_backend" not in shown  # never happened
    assert "no answer" not in shown
    assert shown.endswith("1-4 of 4")


@pytest.mark.parametrize("size", SIZES)
def test_a_thousand_backends_can_all_be_reached_by_scrolling(
    of_thousand: tuple[Status, Rates], size: tuple[int, int]
) -> None:
    view, seen = View(), []
    while True:
        frame = render(*of_thousand, view, *size, age_s=0.0)
        seen += names(frame)
        view = frame.view.handle("page_down")
        if view.place == frame.view.place:
            break
    assert set(seen) == {f"b{number}" for number in range(1, 1001)}
    assert seen[0] == "b1"

    last = render(*of_thousand, view.handle("G"), *size, age_s=0.0)
    assert names(last)[-1] == "b1000"
    assert names(render(*of_thousand, last.view.handle("g"), *size, age_s=0.0))[0] == "b1"


def test_the_head_of_a_service_stays_while_its_backends_scroll(of_thousand: tuple[Status, Rates]) -> None:
    place = Place(chosen=("web", "b101"), top=100)
    frame = render(*of_thousand, View(places=(place,)), 80, 24, age_s=0.0)

    assert frame.lines[5].plain.startswith("web tcp 654/667 up")
    assert names(frame)[0] == "b101"


@pytest.mark.parametrize("size", SIZES)
def test_the_filter_is_shown_and_works(of_thousand: tuple[Status, Rates], size: tuple[int, int]) -> None:
    frame = render(*of_thousand, View(filter="b77"), *size, age_s=0.0)

    assert names(frame) == ["b77", *(f"b{number}" for number in range(770, 780))]
    assert "filter: b77" in frame.lines[2].plain
    assert frame.lines[-1].plain.endswith("1-13 of 13")

    frame = render(*of_thousand, View(filter="b77x", typing=True), *size, age_s=0.0)
    assert frame.lines[-1].plain.startswith("/b77x ")
    assert frame.lines[-1].plain.endswith("nothing matches the filter")


@pytest.mark.parametrize("size", SIZES)
def test_a_silent_daemon_is_named_in_red_beside_the_last_figures(
    of_three: tuple[Status, Rates], size: tuple[int, int]
) -> None:
    frame = render(*of_three, View(), *size, age_s=5.2, gone=True)

    notice = frame.lines[2]
    assert notice.plain.strip() == "no answer from the daemon for 5 s; forwarding goes on"
    assert notice.spans[0].style == "bold red"
    assert "data 5 s old" in frame.lines[0].plain
    assert names(frame) == ["b1", "b2", "b3"]


def test_a_failed_reconcile_is_told(of_three: tuple[Status, Rates]) -> None:
    status, rates = of_three
    failed = status | {"reconcile": status["reconcile"] | {"error": "map slots: E2BIG [x]"}}

    shown = render(failed, rates, View(), 80, 24, age_s=0.0).lines[2].plain
    assert shown.strip() == "the tables are not as desired: map slots: E2BIG [x]"


def test_a_paused_screen_says_so(of_three: tuple[Status, Rates]) -> None:
    assert "PAUSED" in render(*of_three, View(paused=True), 80, 24, age_s=0.0).lines[2].plain


def test_packets_that_are_being_lost_come_first_and_in_red() -> None:
    meter, daemon = Meter(), small()
    meter.take(daemon.status())
    daemon.advance(1.0)
    daemon.verdicts["dropped_no_backend"] = 500
    status = daemon.status()
    foot = render(status, meter.take(status), View(), 80, 24, age_s=0.0).lines[-3]

    assert foot.plain.startswith("dropped_no_backend: 500 (500/s)")
    red = [foot.plain[span.start : span.end] for span in foot.spans if span.style == "bold red"]
    assert red == ["dropped_no_backend"]


def test_more_verdicts_than_fit_are_counted() -> None:
    daemon = small()
    daemon.verdicts = dict.fromkeys(daemon.verdicts, 9)
    status = daemon.status()
    frame = render(status, Meter().take(status), View(), 80, 24, age_s=0.0)

    assert frame.lines[-2].plain.rstrip().endswith("+6")
    shown = text(render(status, Meter().take(status), View(), 200, 60, age_s=0.0))
    assert all(f"{name}: 9 (-/s)" in shown for name in daemon.verdicts)


def test_no_services_is_a_frame_too() -> None:
    status = FakeDaemon([]).status()
    frame = render(status, Meter().take(status), View(), 80, 24, age_s=0.0)

    assert "no backends" in frame.lines[1].plain
    assert frame.lines[-1].plain.endswith("no services")
