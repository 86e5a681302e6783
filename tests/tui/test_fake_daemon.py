"""The fake daemon counts like the real one."""

from __future__ import annotations

import json

from xdplb.tui.fake_daemon import large, small


def test_what_is_forwarded_is_the_sum_over_the_backends() -> None:
    daemon = large(60)
    daemon.advance(1.0)
    status = daemon.status()

    for name, total in status["forwarded"].items():
        assert total == sum(one[name] for service in status["services"] for one in service["backends"]) > 0


def test_a_backend_that_is_down_is_sent_nothing() -> None:
    daemon = small()
    daemon.set_state("web", "b2", "down", "refused")
    daemon.advance(1.0)

    assert [one["packets"] > 0 for one in daemon.status()["services"][0]["backends"]] == [True, False, True]


def test_udp_has_no_connections() -> None:
    daemon = large(60)
    daemon.advance(1.0)
    dns = daemon.status()["services"][1]

    assert all(one["connections"] == 0 for one in dns["backends"])
    assert any(one["packets"] for one in dns["backends"])


def test_a_status_is_json_and_stays_as_it_was() -> None:
    daemon = small()
    before = daemon.status()
    copy = json.loads(json.dumps(before))
    daemon.advance(1.0)

    assert before == copy != daemon.status()
