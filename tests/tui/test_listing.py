"""Rows stand in the order that was asked for, and the filter leaves what was meant."""

from __future__ import annotations

import pytest

from xdplb.tui.fake_daemon import FakeDaemon, make_backend, make_service
from xdplb.tui.listing import list_rows, natural
from xdplb.tui.rates import Meter
from xdplb.tui.view import Sort, View


@pytest.fixture
def daemon() -> FakeDaemon:
    """b10, b2 and b1 behind web; b2 behind dns; each sent more than the one before, over a second."""
    web = [
        make_backend("b10", "10.0.11.2", 300),
        make_backend("b2", "10.0.12.2", 100),
        make_backend("b1", "fd00::9", 200),
    ]
    dns = [make_backend("b2", "10.0.12.2")]
    return FakeDaemon(
        [make_service("web", ["192.0.2.10:80/tcp"], web), make_service("dns", ["192.0.2.53:53/udp"], dns)]
    )


def listed(daemon: FakeDaemon, view: View) -> list[str]:
    meter = Meter()
    meter.take(daemon.status())
    daemon.uptime_s += 1
    for number, backend in enumerate(daemon.services[0]["backends"], 1):
        backend["packets"] += number * 100
        backend["bytes"] += 1000 - number
        backend["connections"] += 10 * number
    status = daemon.status()
    rows = list_rows(status, meter.take(status), view)
    return [row.backend["name"] if row.backend else f"[{row.service['name']}]" for row in rows]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.NAME, ["b1", "b2", "b10"]),
        (Sort.STATE, ["b1", "b2", "b10"]),
        (Sort.WEIGHT, ["b10", "b1", "b2"]),
        (Sort.PACKETS, ["b1", "b2", "b10"]),
        (Sort.BITS, ["b10", "b2", "b1"]),
        (Sort.CONNECTIONS, ["b1", "b2", "b10"]),
        (Sort.SHARE_ERROR, ["b10", "b1", "b2"]),
    ],
)
def test_backends_are_sorted_within_their_service(daemon: FakeDaemon, sort: Sort, order: list[str]) -> None:
    assert listed(daemon, View(sort=sort)) == ["[web]", *order, "[dns]", "b2"]


def test_reversed_is_the_other_way_round(daemon: FakeDaemon) -> None:
    assert listed(daemon, View(reverse=True))[1:4] == ["b10", "b2", "b1"]
    assert listed(daemon, View(sort=Sort.WEIGHT, reverse=True))[1:4] == ["b2", "b1", "b10"]


def test_what_needs_eyes_comes_first_by_state(daemon: FakeDaemon) -> None:
    daemon.set_state("web", "b2", "draining", "")
    daemon.set_state("web", "b10", "down", "")

    assert listed(daemon, View(sort=Sort.STATE))[1:4] == ["b10", "b2", "b1"]


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("b1", ["[web]", "b1", "b10"]),
        ("B10", ["[web]", "b10"]),
        ("dns", ["[dns]", "b2"]),
        ("192.0.2.53", ["[dns]", "b2"]),
        ("web b2", ["[web]", "b2"]),
        ("10.0.12", ["[web]", "b2", "[dns]", "b2"]),
        ("fd00::", ["[web]", "b1"]),
        ("down", ["[web]", "b10"]),
        ("nobody", []),
        ("  ", ["[web]", "b1", "b2", "b10", "[dns]", "b2"]),
    ],
)
def test_every_word_of_the_filter_must_occur(daemon: FakeDaemon, typed: str, left: list[str]) -> None:
    daemon.set_state("web", "b10", "down", "refused")

    assert listed(daemon, View(filter=typed)) == left


def test_names_are_sorted_as_people_count() -> None:
    assert sorted(["b10", "a", "b2", "b", "10", "9"], key=natural) == ["9", "10", "a", "b", "b2", "b10"]
