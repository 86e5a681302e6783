"""The guard's screen: lists, what they drop and spare, and who sends most."""

from __future__ import annotations

from tests.tui.scenes import press, watch
from xdplb.tui.fake_daemon import small


def test_lists_drops_and_what_is_only_counted() -> None:
    daemon = small()
    daemon.verdicts["dropped_blocked"] = 70
    daemon.spared["packet_rate"] = 9
    shown = press(daemon, watch(daemon), "b")

    assert "3 prefixes blocked, 1 allowed" in shown
    assert "dropped_blocked                70" in shown
    assert "would drop: packet_rate         9" in shown
    assert "t: see who sends most" in shown


def test_who_sends_most_is_asked_on_a_key() -> None:
    daemon = small()
    daemon.talkers = [
        {"source": "203.0.113.7", "packets": 12_345, "reason": "dropped_packet_rate", "service": "web"},
        {"source": "2001:db8::7", "packets": 12, "reason": None, "service": "web"},
    ]
    shown = press(daemon, watch(daemon), "b", "t").splitlines()

    assert any(one.split() == ["203.0.113.7", "12.3k", "web", "dropped_packet_rate"] for one in shown)
    assert any(one.split() == ["2001:db8::7", "12", "web", "forwarded"] for one in shown)


def test_it_says_that_it_is_asking_and_asks_once() -> None:
    daemon = small()
    display = watch(daemon)
    press(daemon, display, "b")

    assert len(display.press(["t", "t"])) == 1
    assert "watching who sends most" in press(daemon, display, "x")


def test_a_daemon_that_cannot_tell_or_has_nobody() -> None:
    daemon = small()
    display = watch(daemon)
    assert "this daemon cannot tell who sends" in press(daemon, display, "b", "t")
    daemon.talkers = []
    assert "nobody sent anything" in press(daemon, display, "t")
