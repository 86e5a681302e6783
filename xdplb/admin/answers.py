"""What all handlers of the admin API have in common: the daemon, the request's body, the answer."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from xdplb.daemon import Daemon
from xdplb.errors import ConfigError

DAEMON = web.AppKey("daemon", Daemon)


def answer(document: Any, status: int = 200) -> web.Response:
    """Return a document as JSON."""
    return web.Response(text=json.dumps(document), status=status, content_type="application/json")


async def read_json(request: web.Request) -> Any:
    """Return the body as JSON values, None where it is none."""
    try:
        return await request.json()
    except (ValueError, LookupError, RecursionError):
        return None


async def read_body(request: web.Request) -> dict[str, Any]:
    """Return the body, a JSON object. Raises ConfigError."""
    body = await read_json(request)
    if not isinstance(body, dict):
        raise ConfigError("body", "is no JSON object", 'send {"address": "192.0.2.1"}')
    return body
