"""Evidence in the lab, through the real daemon and real agents: what speaks against a backend has it probed at once."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rig.net import QUICKSTART
from tools.lab.net import VIP4
from tools.lab.stand import ROOT, XDPLB, Stand, wait_for

SLOW = "passive = true\ncheck = { interval_s = 600, rise = 1, fall = 1, hold_down_s = 0 }\n"


def said(stand: Stand, words: str) -> bool:
    return words in stand.log.read_text().rpartition("map entries")[2]


def post(stand: Stand, *accounts: dict[str, Any]) -> tuple[int, Any]:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as opened:
        opened.connect(str(stand.client.path))
        body = json.dumps(accounts)
        head = f"POST /v1/evidence HTTP/1.0\r\nHost: xdplb\r\nContent-Length: {len(body)}\r\n\r\n"
        opened.sendall((head + body).encode())
        answer = b"".join(iter(lambda: opened.recv(4096), b""))
    return int(answer.split()[1]), json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.fixture
def passive(stand: Stand, config_file: Path) -> Stand:
    """The daemon, whose own probes come too late for any of these tests."""
    text = QUICKSTART.read_text()
    config_file.write_text(re.sub("^check = .*\n", SLOW, text, flags=re.M))
    stand.start_daemon(config_file)
    for host in stand.lab.backends:
        stand.wait_state(host, "up")
    return stand


@contextlib.contextmanager
def agent(stand: Stand, host: str, *options: str) -> Iterator[None]:
    """Replace a backend's agent by one with these options."""
    child = stand.spawn_agent(host, *options, stdout=subprocess.PIPE)
    assert child.stdout
    assert "decap program" in child.stdout.readline()
    assert child.stdout.readline() == "reporting to port 6090 of whoever sends\n"
    yield
    child.terminate()
    rest, _ = child.communicate(timeout=10)
    assert child.returncode == 0
    assert "stopped; what is attached goes on" in rest


def knock(stand: Stand) -> subprocess.Popen[str]:
    """Clients that open connections without pause."""
    sources = [part for source in stand.lab.client_addresses for part in ("--source", source)]
    argv = [sys.executable, "-m", "tools.lab.load", "--url", f"http://{VIP4}/", "--rate", "300", "--seconds", "4"]
    return stand.lab.spawn("client", [*argv, *sources], cwd=ROOT, stdout=subprocess.DEVNULL)


def test_where_no_socket_listens_any_more_is_known_at_once(passive: Stand) -> None:
    with agent(passive, "b2", "--report"):
        clients = knock(passive)
        wait_for(lambda: passive.backend("b2")["packets"] > 20, "traffic")
        began = time.monotonic()
        passive.kill_server("b2")
        wait_for(lambda: passive.backend("b2")["state"] == "down", "down", every_s=0.002)
        took = time.monotonic() - began
        clients.terminate()
        clients.wait()
    print(f"down {took * 1e3:.0f} ms after the server's end; probes come every 600 s")
    assert took < 1.0
    assert said(passive, f"web/b2 is probed at once: no socket listens on {VIP4}:80 there (its agent says)")
    assert "refused" in passive.backend("b2")["reason"]


def test_a_backend_without_an_agent_is_told_of(passive: Stand) -> None:
    name = f"{passive.name}-b3"
    assert passive.lab.run("b3", [*XDPLB, "decap", "detach", "--name", name], cwd=ROOT).returncode == 0
    try:
        clients = knock(passive)
        wait_for(lambda: said(passive, "web/b3 is probed at once: fd00:13::2 says: p"), "an ICMP error")
        assert said(passive, "(is the decap agent running on fd00:13::2?)")
        clients.terminate()
        clients.wait()
    finally:
        passive.spawn_agent("b3", stdout=subprocess.DEVNULL)
        passive.wait_agent("b3")


def test_a_proxy_has_an_outlier_ejected(passive: Stand) -> None:
    bad = {"service": "web", "backend": "b1", "failed": 7}
    assert post(passive, bad, {"service": "web", "backend": "b9", "ok": 3}) == (
        200,
        {"taken": 1, "unknown": ["web/b9"]},
    )

    passive.wait_state("b1", "draining")  # its check passes: the connections that it has may go on

    assert passive.backend("b1")["reason"].startswith("ejected for 30 s: 7 errors in a row (reported by traffic); tcp ")
    wait_for(lambda: passive.backend("b1")["slots"] == 0, "no slots")
    assert said(passive, "web/b1 is probed at once: 7 of 7 requests failed (reported by traffic)")
    for host in ("b2", "b3"):  # half of three is one
        post(passive, {**bad, "backend": host})
    assert [passive.backend(host)["state"] for host in ("b2", "b3")] == ["up", "up"]


def test_the_last_one_is_not_left_ejected(passive: Stand) -> None:
    post(passive, {"service": "web", "backend": "b1", "failed": 7})
    passive.wait_state("b1", "draining")
    for host in ("b2", "b3"):
        passive.kill_server(host)
        post(passive, {"service": "web", "backend": host, "failed": 1})  # has it probed
        passive.wait_state(host, "down")
    passive.wait_state("b1", "up")


def test_what_is_wrong_is_refused(passive: Stand) -> None:
    assert post(passive, {"service": "web", "backend": "b1", "ok": -1}) == (
        400,
        {
            "error": "[0].ok: -1 is no whole number from 0 on; send what was counted",
            **{"key": "[0].ok", "problem": "-1 is no whole number from 0 on", "fix": "send what was counted"},
        },
    )
