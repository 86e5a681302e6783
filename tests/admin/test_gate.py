"""What every request passes: roles, what is described and nothing else, If-Match, sizes, and the audit log."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.api import Api, opened
from xdplb.admin import answers, connections


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A daemon that forwards nothing; we are root, or have every role."""
    with opened(tmp_path_factory.mktemp("gate"), f"[admin]\nadmin = [{os.getuid() or 12345}]") as found:
        yield found


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/v1/guard", None, 400, "address: missing; add it to the query"),
        ("GET", "/v1/guard?address=192.0.2.1&verbose=1", None, 400, "verbose: unknown parameter; known here: address"),
        ("GET", "/v1/guard?address=192.0.2.1&address=192.0.2.2", None, 400, "address: is given twice; give it once"),
        ("GET", "/v1/backends/b1?service=", None, 400, "service: is empty; give a value, or leave it away"),
        ("PUT", "/v1/backends/b1/weight", '{"weight": 1, "for": 2}', 400, "for: unknown key; known here: weight"),
        ("PUT", "/v1/backends/b1/drain", '{"for_s": 2}', 400, "body: nothing is taken here; leave it away"),
        ("POST", "/v1/plan", None, 400, "body: is no JSON object"),
        ("GET", "/v1/backends/nope", None, 404, "backend: there is no backend 'nope' in any service"),
        ("PUT", "/v1/services/nope/backends/b1", '{"address": "192.0.2.1"}', 404, "service: there is no service"),
        ("POST", "/v1/services/web/backends", '{"address": "192.0.2.10"}', 409, "address: 192.0.2.10 is a VIP"),
        ("GET", "/v1/nothing", None, 404, "GET /v1/nothing: Not Found"),
    ],
)
def test_what_is_not_described_is_refused(
    api: Api, method: str, path: str, body: str | None, status: int, error: str
) -> None:
    answer = api.ask(method, path, body)
    assert (answer.status, answer.error[: len(error)]) == (status, error)
    if "key" in answer.document:
        parts = answer.document
        assert answer.error == f"{parts['key']}: {parts['problem']}" + (f"; {parts['fix']}" if "fix" in parts else "")


def test_other_methods_are_told_which_there_are(api: Api) -> None:
    refused, asked = api.ask("POST", "/v1/guard?address=192.0.2.1"), api.ask("OPTIONS", "/v1/guard")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET,HEAD,OPTIONS,PATCH")
    assert (asked.status, asked.headers["Allow"], asked.content) == (204, "GET,HEAD,OPTIONS,PATCH", b"")
    head = api.ask("HEAD", "/v1/guard?address=192.0.2.1")
    assert (head.status, head.content, head.headers["Content-Length"] != "0") == (200, b"", True)
    assert api.ask("HEAD", "/v1/events?follow=1").status == 405  # it would never end


def test_only_json_is_taken(api: Api) -> None:
    refused = api.ask("PUT", "/v1/backends/b1/weight", "weight=1", Content_Type="application/x-www-form-urlencoded")
    assert (refused.status, "send application/json" in refused.error) == (415, True)
    path, body = "/v1/backends/b1/weight", '{"weight": -1}'
    assert api.ask("PUT", path, body).status == 400
    assert api.ask("PUT", path, body, Content_Type="application/json; charset=utf-8").status == 400


def test_what_was_decided_on_an_old_look_is_refused_and_changes_nothing(api: Api) -> None:
    looked, before = api.daemon.revision, api.daemon.kept.overrides
    stale = api.ask("PUT", "/v1/backends/b1/weight", '{"weight": 7}', If_Match='"0000"')
    assert (stale.status, stale.headers["ETag"]) == (412, f'"{looked}"')
    assert api.daemon.kept.overrides is before
    for value in ('W/"' + looked + '"', "nonsense"):
        assert api.ask("PUT", "/v1/backends/b1/weight", '{"weight": 7}', If_Match=value).status == 412
    for value in (f'"0000", "{looked}"', "*"):  # these get on, to what is wrong with the weight
        assert api.ask("PUT", "/v1/backends/b1/weight", '{"weight": -7}', If_Match=value).status == 400


def test_the_revision_is_another_one_when_something_else_is_wanted(api: Api) -> None:
    before, kept = api.daemon.revision, api.daemon.kept.overrides
    api.daemon.kept.overrides = kept.copy()
    assert api.daemon.revision == before
    api.daemon.kept.overrides.draining.add(("web", "b1"))
    api.daemon.kept.overrides = api.daemon.kept.overrides.copy()
    assert api.daemon.revision != before
    api.daemon.kept.overrides = kept
    assert api.daemon.revision == before


def test_a_gigabyte_is_refused_before_it_comes_and_others_go_on(api: Api) -> None:
    head = f"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {1 << 30}\r\n\r\n"
    with api.connect() as connection:
        connection.sendall(head.encode() + b"{" * 1000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with api.connect() as connection:  # one that does not say how long it is
        head = (
            "POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(head.encode())
        try:
            for _ in range(2 * answers.MOST_BYTES // 0x10000):
                connection.sendall(chunk)
            found = connection.recv(1000)
        except ConnectionError:
            found = connection.recv(1000)
        assert found.startswith(b"HTTP/1.1 413 ")
    assert api.ask("GET", "/v1/guard?address=192.0.2.1").status == 200


def test_half_a_body_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "BODY_S", 0.1)
    with api.connect() as connection:
        connection.sendall(b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_who_asks_no_more_is_let_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with api.connect() as connection:
        monkeypatch.setattr(connections, "IDLE_S", 0.2)
        connection.sendall(b"GET /v1/guard?address=192.0.2.1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(4096) == b""


def test_a_thousand_connections_of_one_do_not_keep_it_from_asking(api: Api) -> None:
    held = []
    try:
        for _ in range(1000):
            held.append(api.connect())
            held[-1].sendall(b"GET /v1/gu")  # half a request's head
        assert api.ask("GET", "/v1/guard?address=192.0.2.1").status == 200
    finally:
        for connection in held:
            connection.close()


def lines(api: Api) -> list[dict[str, object]]:
    text = api.daemon.audit.path.read_text() if api.daemon.audit.path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def test_what_was_tried_is_in_the_audit_log_and_what_was_read_is_not(api: Api) -> None:
    before = len(lines(api))
    api.ask("GET", "/v1/guard?address=192.0.2.1")
    api.ask("PUT", "/v1/backends/b1/weight?plan=1", '{"weight": -1}')
    api.ask("POST", "/v1/plan", '{"config": ""}')
    api.ask("POST", "/v1/evidence", "[]")
    api.ask("PUT", "/v1/backends/b1/weight?service=web", '{"weight": -1}')

    (line,) = lines(api)[before:]
    assert (line["method"], line["path"], line["status"]) == ("PUT", "/v1/backends/b1/weight?service=web", 400)
    assert (line["uid"], line["pid"], line["content"]) == (os.getuid(), os.getpid(), {"weight": -1})
    shown = api.ask("GET", f"/v1/audit?limit=1&after={int(str(line['number'])) - 1}").document["changes"]
    assert shown == [line]


@pytest.mark.root
def test_who_may_read_may_not_change(tmp_path: Path) -> None:
    from tests.rig.api import ask_as

    with opened(tmp_path, '[admin]\nread = ["nobody"]\noperate = [4242]') as api:
        for folder in (tmp_path, *tmp_path.parents):
            if not folder.stat().st_mode & 1:
                folder.chmod(0o711)

        def ask(uid: int, line: str) -> str:
            text = f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            found = re.match(rb"HTTP/1.1 (\d+)", ask_as(uid, api.path, text.encode()))
            return found[1].decode() if found else ""

        assert ask(65534, "GET /v1/guard?address=192.0.2.1") == "200"
        changing = [
            (method.upper(), path)
            for path, item in api.ask("GET", "/v1/openapi.json").document["paths"].items()
            for method, found in item.items()
            if found["x-role"] != "read"
        ]
        assert len(changing) > 8
        for method, path in changing:
            assert ask(65534, f"{method} {path.format(service='web', backend='b1')}") == "403", path
        assert ask(4242, "GET /v1/audit") == "403"
        assert ask(4242, "PUT /v1/backends/nope/drain") == "404"

        assert ask_as(4343, api.path, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n") == b""  # not one byte
        refused = [line for line in lines(api) if line["status"] == 403]
        assert ("nobody", "DELETE") in {(line["who"], line["method"]) for line in refused}
        assert ("/v1/audit", 4242) in {(line["path"], line["uid"]) for line in refused}
        assert [line["uid"] for line in refused if line["method"] == "CONNECT"] == [4343]
        assert api.daemon.audit.path.stat().st_mode & 0o777 == 0o600
