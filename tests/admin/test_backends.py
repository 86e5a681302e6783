"""Changes of backends by a client that may ask twice, and by one whose look is old."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from tools.lab.net import address
from tools.lab.stand import Stand


def ask(stand: Stand, method: str, path: str, body: Any = None, match: str = "") -> tuple[int, str, Any]:
    """Status, ETag and document of one request."""
    connection = http.client.HTTPConnection("xdplb")
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.connect(str(stand.client.path))
        headers = {"If-Match": match} if match else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.headers.get("ETag", ""), json.loads(response.read())


def test_put_twice_is_once_and_an_old_look_changes_nothing(served: Stand) -> None:
    path, wanted = "/v1/services/web/backends/b9", {"address": "10.0.11.77", "weight": 50}
    _, looked, _ = ask(served, "GET", "/v1/status")

    status, tag, first = ask(served, "PUT", path, wanted, looked)
    assert (status, first["backends"][0]["name"]) == (200, "b9")
    assert tag != looked
    status, again, second = ask(served, "PUT", path, wanted, tag)
    assert (status, again, second["writes"]) == (200, tag, 0)
    assert served.backend("b9")["weight"] == 50

    assert ask(served, "PUT", path, {**wanted, "weight": 70}, looked)[0] == 412
    assert served.backend("b9")["weight"] == 50
    assert ask(served, "PUT", path, {**wanted, "weight": 70}, tag)[0] == 200
    assert served.backend("b9")["weight"] == 70
    assert ask(served, "PUT", path, {"address": address("b1")})[0] == 409
    assert served.client.status()["config"]["changes"] == ["backend web/b9 added"]

    told = [event for event in served.client.events() if event["who"]]
    assert [(e["kind"], e["service"], e["backend"], e["who"]) for e in told] == [("add", "web", "b9", "root")] * 2
    lines = [line for line in served.client.audit() if line["path"] == path]
    assert [line["status"] for line in lines] == [200, 200, 412, 200, 409]
    assert lines[0]["content"] == wanted
    shown = served.run("audit", "--limit", "1").stdout
    assert "root (" in shown
    assert f'PUT {path} {{"address": "{address("b1")}"}} -> 409' in shown
