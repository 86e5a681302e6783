"""`xdplb status`."""

from __future__ import annotations

import json

from tools.lab.stand import Stand


def test_it_shows_interface_services_backends_and_reasons(running: Stand) -> None:
    done = running.run("status")

    assert done.returncode == 0
    assert "eth0: XDP native mode, program " in done.stdout
    assert "web  10.9.9.9:80/tcp, [fd00:9::9]:80/tcp  ring of 1024 slots" in done.stdout
    assert "start: loaded a new program, wrote" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("  b3 "))
    assert line.split()[1:4] == ["fd00:13::2", "up", "100"]
    (head,) = {line for line in done.stdout.splitlines() if line.startswith("  backend ")}
    assert head.split() == [
        *("backend", "address", "state", "weight", "slots", "packets", "bytes", "connections", "flows_left", "reason")
    ]
    assert "\x1b" not in done.stdout  # no colours into a pipe


def test_json_is_the_documents_own(running: Stand) -> None:
    document = json.loads(running.run("status", "--json").stdout)
    assert document["services"][0]["backends"][0]["name"] == "b1"
    assert document["services"][0]["forward"] == "ipip"
