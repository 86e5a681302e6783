"""`xdplb check`: what a probe does now, step by step."""

from __future__ import annotations

import json
import re

from tools.lab.net import address
from tools.lab.stand import Stand


def test_a_check_says_how_it_went_and_changes_nothing(running: Stand) -> None:
    done = running.run("check", "b1")
    assert done.returncode == 0, done.stderr
    head, cause = done.stdout.splitlines()
    assert re.fullmatch(rf"web/b1 tcp to {re.escape(address('b1'))}:80 directly: passed", head)
    assert "connected in " in cause

    running.kill_server("b1")
    done = running.run("check", "b1", "--verbose")
    assert done.returncode == 1
    assert re.search(r"^ +\d+\.\d{3} ms  tcp .*: refused$", done.stdout, re.M)
    (result,) = json.loads(running.run("check", "b1", "--service", "web", "--json").stdout)
    assert (result["service"], result["backend"], result["passed"]) == ("web", "b1", False)
    assert result["steps"][-1]["what"] == result["cause"]


def test_an_unknown_backend_is_one_line_and_status_2(running: Stand) -> None:
    done = running.run("check", "nope")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no backend 'nope' in any service" in done.stderr
