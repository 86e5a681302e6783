"""The stream of events: from a number on, for ever if wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rig.api import Api, opened


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A daemon to which two things happened."""
    with opened(tmp_path_factory.mktemp("events")) as found:
        for cause in ("first", "second"):
            found.daemon.events.tell("apply", cause, who="mary")
        yield found


def events(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in content.decode().splitlines() if line.startswith("data: ")]


@pytest.mark.root
def test_only_later_ones_if_wanted(api: Api) -> None:
    answer = api.ask("GET", "/v1/events")
    first, second = events(answer.content)
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert (first["kind"], first["cause"], first["who"], first["service"]) == ("apply", "first", "mary", None)
    assert events(api.ask("GET", f"/v1/events?after={first['number']}").content) == [second]
    assert events(api.ask("GET", "/v1/events", Last_Event_ID=str(second["number"])).content) == []
    refused = api.ask("GET", "/v1/events", Last_Event_ID="x")
    assert (refused.status, refused.error[:30]) == (400, "Last-Event-ID: 'x' is no numbe")


@pytest.mark.root
def test_who_follows_gets_the_next_one(api: Api) -> None:
    with api.connect() as connection:
        connection.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while b"second" not in found:
            found += connection.recv(4096)
        api.loop.call_soon_threadsafe(lambda: api.daemon.events.tell("reload", "third"))
        while b"third" not in found:
            found += connection.recv(4096)
