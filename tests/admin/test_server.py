"""The API of the running daemon: answers, refusals, and that a change is in the tables when it answers."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.rig.api import ask_as
from tests.rig.authority import Authority
from tests.rig.net import ADMIN_PORT
from tools.lab.net import address
from tools.lab.stand import ROOT, XDPLB, Stand
from xdplb.admin.server import take_socket
from xdplb.errors import ConfigError, RefusedError

STATUS = {
    "version",
    "name",
    "pid",
    "now",
    "started",
    "config",
    "interface",
    "interfaces",
    "spared",
    "reconcile",
    "start",
    "warnings",
}
STATUS |= {"booted", "guard", "unconfirmed", "flows", "probes"}
STATUS |= {"forwarded", "verdicts", "services"}
INTERFACE = {"name", "index", "mode", "program_id", "link_id", "driver", "mtu", "rx_packets", "xdp_tx_errors"}
INTERFACE |= {"tx_packets", "compiled", "map_bytes", "layout", "code", "up", "carrier"}


def request(stand: Stand, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    """One raw request."""
    connection = http.client.HTTPConnection("xdplb")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(stand.client.path))
    connection.request(method, path, body)
    answer = connection.getresponse()
    with connection.sock:
        return answer.status, json.loads(answer.read())


def test_status_has_the_documented_fields(served: Stand) -> None:
    status = served.client.status()

    assert set(status) == STATUS
    assert set(status["interface"]) == INTERFACE
    assert status["interface"]["mode"] == "native"
    assert status["interface"]["compiled"] == ["vip4", "vip6", "ipip4", "ipip6"]


def test_a_change_is_in_the_tables_when_it_answers(served: Stand) -> None:
    served.client.remove_backend("b2", None, now=True)
    for _ in range(5):
        answer = served.client.add_backend("web", address("b2"), "b2", 100)
        assert answer["backends"][0]["state"] == "up"
        assert answer["writes"] > 300
        assert served.backend("b2")["slots"] > 300
        served.client.remove_backend("b2", "web", now=True)
    served.client.add_backend("web", address("b2"), "b2", 100)


def test_what_is_wrong_is_refused_and_changes_nothing(served: Stand) -> None:
    before = served.client.status()["config"]
    for method, path, body, error in (
        ("POST", "/v1/services/web/backends", "{", "body: is no JSON object"),
        ("POST", "/v1/services/web/backends", "[]", "body: is no JSON object"),
        ("POST", "/v1/services/web/backends", "{}", "address: None is no text"),
        ("POST", "/v1/services/web/backends", '{"address": "10.0.0.9", "wait": 1}', "wait: unknown key"),
        (
            "POST",
            "/v1/services/web/backends",
            '{"address": "10.0.0.9", "weight": "x"}',
            "weight: 'x' is no whole number",
        ),
        (
            "POST",
            "/v1/services/web/backends",
            '{"address": "10.0.0.9", "weight": -1}',
            "backend.weight: -1 is out of range",
        ),
        ("POST", "/v1/services/web/backends", '{"address": "10.0.0.9", "name": 3}', "name: 3 is no text"),
        ("POST", "/v1/services/nope/backends", '{"address": "10.0.0.9"}', "service: there is no service 'nope'"),
        ("DELETE", "/v1/backends/nope", None, "backend: there is no backend 'nope'"),
        ("PUT", "/v1/backends/b1/drain?service=nope", None, "service: there is no service 'nope'"),
        ("PUT", "/v1/backends/b1/drain?for_s=x", None, "for_s: 'x' is no duration"),
        ("PUT", "/v1/backends/b1/drain?plan=x", None, "plan: 'x' is not known; give 1 or 0"),
        ("DELETE", "/v1/backends/b1?now=1&for_s=1", None, "for_s: makes no sense with now"),
        ("PUT", "/v1/backends/b1/weight", '{"weight": -1}', "weight: -1 is out of range"),
        ("GET", "/v1/backends/nope", None, "backend: there is no backend 'nope'"),
        ("POST", "/v1/plan", '{"config": 3}', "config: 3 is no text"),
        ("POST", "/v1/plan", '{"config": ""}', "balancer: the file is empty"),
    ):
        status, answer = request(served, method, path, body)
        assert status == (404 if "there is no" in error else 400), path
        assert error in answer["error"]
    assert request(served, "GET", "/v1/nope")[0] == 404
    assert request(served, "POST", "/v1/status")[0] == 405
    assert served.client.status()["config"] == before


def test_errors_come_back_as_exceptions(served: Stand) -> None:
    with pytest.raises(ConfigError) as caught:
        served.client.drain_backend("nope", None)
    assert str(caught.value) == "backend: there is no backend 'nope' in any service; see `xdplb status`"


def test_changes_at_the_same_time_are_all_kept(served: Stand) -> None:
    def add(number: int) -> None:
        served.client.add_backend("web", f"10.0.2.{number}", f"n{number}", 1)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(30, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {b["name"] for b in served.client.status()["services"][0]["backends"]}
    assert {f"n{number}" for number in range(30, 40)} < names


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    take_socket(path).close()
    first = take_socket(path)
    first.listen()
    with pytest.raises(RefusedError, match=r"admin socket .* is taken .*end the program that listens there"):
        take_socket(path)
    first.close()
    path.unlink()
    path.write_text("no socket")
    with pytest.raises(RefusedError, match="is taken"):
        take_socket(path)


def test_others_than_root_have_the_role_that_the_file_gives_them(served: Stand, signer: Authority) -> None:
    def remotely(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [*XDPLB, "--url", f"https://127.0.0.1:{ADMIN_PORT}", *signer.client(f"{name}.example"), *arguments]
        return served.lab.run("lb", argv, timeout=20, cwd=ROOT)

    assert json.loads(remotely("watch", "status", "--json").stdout)["name"] == served.name
    refused = remotely("watch", "backend", "drain", "b2")
    assert (refused.returncode, "this needs operate" in refused.stderr) == (1, True)
    assert "b2 draining" in remotely("ops", "backend", "drain", "b2").stdout
    assert "b2 undrained, now up" in remotely("ops", "backend", "undrain", "b2").stdout
    assert {"ops.example"} <= {event["who"] for event in served.client.events()}

    assert isinstance(served.client.path, Path)
    folder = served.client.path.parent
    assert {path.name for path in folder.iterdir() if path.stat().st_mode & 0o077} == {"admin.sock"}
    assert len(list(folder.iterdir())) > 2
    text = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert ask_as(65534, served.client.path, text).startswith(b"HTTP/1.1 200 ")
    assert ask_as(65533, served.client.path, text) == b""
