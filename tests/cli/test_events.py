"""`xdplb events`: what became of backends, and what becomes of them."""

from __future__ import annotations

import json
import subprocess

from tools.lab.stand import ROOT, XDPLB, Stand


def test_events_tell_state_and_cause_and_can_be_followed(running: Stand) -> None:
    told = [json.loads(line) for line in running.run("events", "--json").stdout.splitlines()]
    ups = {event["backend"]: event for event in told if event["state"] == "up"}
    assert set(ups) == {"b1", "b2", "b3"}
    assert "connected in " in ups["b1"]["cause"]

    argv = [*XDPLB, "--name", running.name, "events", "--follow"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout
        lines = [following.stdout.readline() for _ in told]
        running.run("backend", "drain", "b2")
        news = following.stdout.readline()
        following.kill()
    assert sum("web/b" in line for line in lines) == len(told) - 1
    assert sum(" attach: eth0: program " in line for line in lines) == 1
    assert " web/b2 is draining: drained by an operator" in news


def test_who_follows_is_told_when_the_daemon_ends(running: Stand) -> None:
    argv = [*XDPLB, "--name", running.name, "events", "--follow"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout
        assert following.stderr
        following.stdout.readline()
        running.kill_daemon()
        assert following.wait(10) == 1
        assert "xdplb: the daemon" in following.stderr.read()


def test_a_number_that_is_none_is_refused(running: Stand) -> None:
    from tests.admin.test_server import request

    status, answer = request(running, "GET", "/v1/events?after=x")
    assert (status, answer["error"]) == (
        400,
        "after: 'x' is no number; give that of the last event that you saw, or 0",
    )
