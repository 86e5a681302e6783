"""`xdplb backend`: every change says what it came to."""

from __future__ import annotations

from tools.lab.net import address
from tools.lab.stand import Stand


def test_drain_undrain_remove_add(running: Stand) -> None:
    done = running.run("backend", "drain", "b2")
    assert done.stdout.startswith(
        "web/b2 draining, now draining (drained by an operator; tcp 10.0.12.2:80 connected in "
    )
    assert "map entries written in" in done.stdout
    assert (running.backend("b2")["state"], running.backend("b2")["slots"]) == ("draining", 0)

    assert "web/b2 undrained, now up" in running.run("backend", "undrain", "b2").stdout
    assert "web/b2 removed" in running.run("backend", "remove", "b2", "--service", "web").stdout
    done = running.run("backend", "add", "web", address("b2"), "--backend-name", "b2", "--weight", "300")
    assert "web/b2 added, now up" in done.stdout
    assert running.backend("b2")["weight"] == 300
    assert 550 < running.backend("b2")["slots"] < 680
    assert running.client.status()["config"]["changes"] == ["backend web/b2 added", "backend web/b2 removed"]


def test_a_wrong_argument_is_one_line_and_status_2(running: Stand) -> None:
    for arguments, words in (
        (["add", "nope", "10.0.0.1"], "service: there is no service 'nope'; the services are: web"),
        (["add", "web", "10.0.0"], "backend.address: '10.0.0' is no IP address"),
        (["add", "web", "10.0.0.1", "--weight", "-1"], "backend.weight: -1 is out of range; give 0 to 65535"),
        (["add", "web", "10.0.0.1", "--weight", "1000000000"], "out of range"),
        (["remove", "nope"], "there is no backend 'nope' in any service"),
    ):
        done = running.run("backend", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert words in done.stderr
    assert running.client.status()["config"]["changes"] == []
