"""Opened, a service or backend tells everything about itself."""

from __future__ import annotations

from tests.tui.scenes import press, watch
from xdplb.tui.fake_daemon import small


def test_a_service_shows_its_vips_slots_rates_and_the_checks_of_its_backends() -> None:
    daemon = small()
    daemon.set_state("web", "b2", "down", "tcp 10.0.12.2:80 refused the connection")
    shown = press(daemon, watch(daemon), "enter")

    assert "VIPs  192.0.2.10:80/tcp  [2001:db8::10]:80/tcp" in shown
    assert "ring  683 of 1,024 slots settled, 341 moving, 0 moved" in shown
    assert "tcp 10.0.12.2:80  down for 4 s: tcp 10.0.12.2:80 refused the connection" in shown
    assert "M pkt/s" in shown
    assert "max 1." in shown


def test_slots_on_their_way_have_a_bar() -> None:
    daemon = small()
    display = watch(daemon)
    daemon.services[0]["moving_slots"] = 400
    press(daemon, display, "enter")
    daemon.services[0] |= {"moving_slots": 60, "moved_slots": 40}
    daemon.advance(1.0)

    press(daemon, display, "x")
    assert "███████████████░░░░░ 75% of those that moved have settled again" in press(daemon, display, "x")


def test_a_backend_shows_since_when_and_why_each_check_is_as_it_is() -> None:
    daemon = small()
    daemon.services[0]["backends"][0]["flows_left"] = 120
    daemon.services[0]["backends"][0]["checks"][0]["warning"] = "the certificate ends in 3 days"
    shown = press(daemon, watch(daemon), "down", "enter")

    assert "web/b1  up" in shown
    assert "341 of 1,024 slots (33.3%)" in shown
    assert "120 flows remembered for it" in shown
    assert "tcp 10.0.11.2:80  up for 5 s: tcp 10.0.11.2:80 connected in 0.2 ms" in shown
    assert "last probe 5 s ago: tcp 10.0.11.2:80 connected" in shown
    assert "warning: the certificate ends in 3 days" in shown


def test_backends_of_a_service_are_chosen_and_opened_in_turn() -> None:
    daemon = small()
    display = watch(daemon)

    assert "web/b2  up" in press(daemon, display, "enter", "down", "enter")
    assert "backends" in press(daemon, display, "escape")
    assert display.view.place.chosen == ("web", "b2")


def test_what_has_gone_meanwhile_says_so() -> None:
    daemon = small()
    display = watch(daemon)
    press(daemon, display, "down", "enter")
    del daemon.services[0]["backends"][0]

    assert "web/b1 is gone; Esc goes back" in press(daemon, display, "x")


def test_a_backend_without_checks_counts_as_up() -> None:
    daemon = small()
    daemon.services[0]["backends"][0]["checks"] = []

    assert "none: it counts as up" in press(daemon, watch(daemon), "down", "enter")
