"""What all handlers of the admin API have in common: the daemon, the request's body, the answer, who asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from xdplb.admin.callers import Caller
from xdplb.daemon import Daemon
from xdplb.desired import Key
from xdplb.errors import ConfigError

DAEMON = web.AppKey("daemon", Daemon)
CALLER = web.RequestKey("caller", Caller)
BODY = web.RequestKey("body", object)  # read once, also for the audit log
MOST_BYTES = 8 << 20  # of a body: a configuration with some ten thousand backends
BODY_S = 30.0  # who sends half a body is not waited for
KEEP_ALIVE_S = 15.0  # between two signs of life to those who follow
SLOW_S = 30.0  # who follows and takes nothing for so long is let go


def answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a document as JSON."""
    return web.Response(text=json.dumps(document), status=status, content_type="application/json", headers=headers)


def refuse(error: ConfigError, status: int) -> web.Response:
    """Return what is wrong, whole and in its parts."""
    parts = {"key": error.key, "problem": error.problem, "fix": error.fix}
    return answer({"error": str(error), **{name: text for name, text in parts.items() if text}}, status)


async def read_json(request: web.Request) -> Any:
    """Return the body as JSON values, None where it is none. Raises web.HTTPException: too long, or only half."""
    if BODY not in request:
        if (request.content_length or 0) > MOST_BYTES:
            raise web.HTTPRequestEntityTooLarge(MOST_BYTES, request.content_length or 0)
        try:
            async with asyncio.timeout(BODY_S):
                request[BODY] = await request.json()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except (ValueError, LookupError, RecursionError):
            request[BODY] = None
    return request[BODY]


async def read_body(request: web.Request) -> dict[str, Any]:
    """Return the body, a JSON object. Raises ConfigError."""
    body = await read_json(request)
    if not isinstance(body, dict):
        raise ConfigError("body", "is no JSON object", 'send {"address": "192.0.2.1"}')
    return body


def tell(
    request: web.Request, kind: str, cause: str, keys: Iterable[Key | tuple[None, None]] = ((None, None),)
) -> None:
    """Tell all who follow what the caller has just changed, once for each backend that it is about."""
    for service, backend in keys:
        request.app[DAEMON].events.tell(kind, cause, service, backend, request[CALLER].who)


async def stream(request: web.Request) -> web.StreamResponse:
    """Begin an answer of server-sent events (HTML Living Standard, 9.2)."""
    begun = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await begun.prepare(request)
    return begun


async def send(stream: web.StreamResponse, text: str) -> None:
    """Send a part of it. Raises ConnectionResetError when nobody takes it."""
    try:
        await asyncio.wait_for(stream.write(text.encode()), SLOW_S)
    except TimeoutError:
        raise ConnectionResetError("the follower takes nothing") from None
