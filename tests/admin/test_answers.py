"""Answers of the API: JSON in, JSON out, and what is no JSON is told."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from xdplb.admin.answers import answer, read_body
from xdplb.errors import ConfigError


def test_an_answer_is_json_with_its_status() -> None:
    sent = answer({"error": "no"}, 400)

    assert (sent.status, sent.content_type, json.loads(sent.text or "")) == (400, "application/json", {"error": "no"})


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(text: bytes) -> None:
    request = make_mocked_request("POST", "/")
    request._read_bytes = text

    with pytest.raises(ConfigError, match="is no JSON object"):
        asyncio.run(_read(request))


async def _read(request: web.Request) -> object:
    return await read_body(request)
