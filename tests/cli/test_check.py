"""`xdplb check`: what a probe does now, step by step."""

from __future__ import annotations

import json
import re

from tools.lab.net import VIP4, VIP6
from tools.lab.stand import Stand


def test_a_check_says_how_it_went_and_changes_nothing(running: Stand) -> None:
    done = running.run("check", "b1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"web/b1 tcp to {VIP4}:80 through the tunnel: passed"
    assert "connected in " in lines[1]
    assert lines[2] == f"web/b1 tcp to [{VIP6}]:80 through the tunnel: passed"

    running.kill_server("b1")
    done = running.run("check", "b1", "--verbose")
    assert done.returncode == 1
    assert re.search(r"^ +\d+\.\d{3} ms  tcp .*: refused$", done.stdout, re.M)
    results = json.loads(running.run("check", "b1", "--service", "web", "--json").stdout)
    assert [(r["service"], r["backend"], r["passed"]) for r in results] == [("web", "b1", False)] * 2
    assert all(result["steps"][-1]["what"] == result["cause"] for result in results)


def test_an_unknown_backend_is_one_line_and_status_2(running: Stand) -> None:
    done = running.run("check", "nope")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no backend 'nope' in any service" in done.stderr
