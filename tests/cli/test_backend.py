"""`xdplb backend`: every change says what it came to."""

from __future__ import annotations

import re
import time

from tools.lab.net import address
from tools.lab.stand import Stand, wait_for


def test_drain_undrain_remove_add(running: Stand) -> None:
    done = running.run("backend", "drain", "b2")
    assert done.stdout.startswith(
        "web/b2 draining, now draining (drained by an operator; tcp 10.9.9.9:80: connected in "
    )
    assert "map entries written in" in done.stdout
    assert (running.backend("b2")["state"], running.backend("b2")["slots"]) == ("draining", 0)

    assert "web/b2 undrained, now up" in running.run("backend", "undrain", "b2").stdout
    done = running.run("backend", "remove", "b2", "--service", "web", "--now")
    assert re.search(
        r"web/b2 removed; all flows in its 3\d\d of 1,024 slots \(3\d %\) break; drain it first to have them counted\n",
        done.stdout,
    )
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
        (["remove", "b1", "--for", "soon"], "--for: 'soon' is no duration; write"),
        (["drain", "b1", "--for", "8000000"], "for_s: 8000000.0 is out of range; give 1 to 604800"),
        (["weight", "b1", "65536"], "weight: 65536 is out of range; give 0 to 65535"),
    ):
        done = running.run("backend", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert words in done.stderr
    assert running.client.status()["config"]["changes"] == []


def test_a_drain_with_a_deadline_waits_for_it_and_lets_the_rest_go(running: Stand) -> None:
    began = time.monotonic()
    done = running.run("backend", "drain", "b2", "--for", "2s", "--wait")

    assert done.returncode == 0, done.stderr
    assert 1.5 < time.monotonic() - began < 8
    assert "web/b2 draining, now draining (drained by an operator until " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("web/b2: its ")
    if "its deadline has passed" in done.stdout:
        passed = "drained by an operator; its deadline has passed"
        wait_for(lambda: running.backend("b2")["reason"] == passed, "the deadline", 3)
    assert running.backend("b2")["slots"] == 0

    assert "web/b2 undrained, now up" in running.run("backend", "undrain", "b2").stdout
    assert running.backend("b2")["slots"] > 300
    assert running.client.status()["config"]["changes"] == []


def test_a_removal_drains_first_and_is_over_at_its_deadline(running: Stand) -> None:
    done = running.run("backend", "remove", "b2", "--for", "2s", "--wait")

    assert done.returncode == 0, done.stderr
    assert "web/b2 being removed, now draining (removed when its flows are gone, at the latest " in done.stdout
    assert done.stdout.endswith("web/b2 is removed\n")
    assert {b["name"] for b in running.client.status()["services"][0]["backends"]} == {"b1", "b3"}
    assert running.client.status()["config"]["changes"] == ["backend web/b2 removed"]


def test_a_backend_without_a_flow_is_removed_at_once_and_one_being_removed_can_be_kept(running: Stand) -> None:
    running.run("backend", "add", "web", "10.0.2.99", "--backend-name", "ghost")  # nobody answers there
    done = running.run("backend", "remove", "ghost", "--wait")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "web/ghost removed")

    running.client.remove_backend("b2", None)
    assert running.client.status()["config"]["changes"] == ["backend web/b2 being removed"]
    done = running.run("backend", "drain", "b2")
    assert (done.returncode, done.stderr.count("undrain b2` keeps it")) == (2, 1)
    assert "b2 added, now up" in running.run("backend", "add", "web", address("b2"), "--backend-name", "b2").stdout
    assert running.client.status()["config"]["changes"] == []


def test_a_weight_is_changed_while_traffic_flows(running: Stand) -> None:
    slots = running.backend("b2")["slots"]
    assert "web/b2 has weight 300, now up" in running.run("backend", "weight", "b2", "300").stdout
    assert running.backend("b2")["slots"] > 1.5 * slots
    assert "web/b2 has weight 0, now idle" in running.run("backend", "weight", "b2", "0").stdout
    assert running.backend("b2")["slots"] == 0
    assert running.client.status()["config"]["changes"] == ["backend web/b2 has weight 0"]
    running.run("backend", "weight", "b2", "100")
    assert (running.backend("b2")["slots"], running.client.status()["config"]["changes"]) == (slots, [])
