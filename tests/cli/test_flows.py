"""`xdplb flows`: says what is remembered, and forgets it."""

from __future__ import annotations

import json

from tools.lab.stand import Stand, wait_for


def test_flows_of_a_change_are_shown_and_can_be_cleared(running: Stand) -> None:
    wait_for(lambda: running.client.status()["flows"]["remembered"] == 0, "nothing remembered", 20.0)
    assert running.run("flows", "status").stdout.startswith("0 flows remembered, room for ")
    running.run("backend", "drain", "b1")
    try:
        done = running.lab.run("client", ["curl", "-sS", "--max-time", "5", "http://10.9.9.9/"])
        assert done.returncode == 0, done.stderr
        for _ in range(20):
            running.lab.run("client", ["curl", "-sS", "--max-time", "5", "http://10.9.9.9/"])
        wait_for(lambda: json.loads(running.run("flows", "status", "--json").stdout)["backends"], "flows counted")
        assert " moving, 0 moved" in running.run("status").stdout
        assert "flows remembered: " in running.run("status").stdout

        cleared = running.run("flows", "clear")

        assert cleared.returncode == 0
        assert int(cleared.stdout.split()[1]) > 0
        assert json.loads(running.run("flows", "status", "--json").stdout)["backends"] == {}
    finally:
        running.run("backend", "undrain", "b1")
