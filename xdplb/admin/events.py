"""What happened, as a stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from xdplb.admin import orders
from xdplb.admin.answers import DAEMON, KEEP_ALIVE_S, send, stream
from xdplb.admin.shapes import NUMBERED, SWITCH, operation, ref, stream_of


async def _events(request: web.Request) -> web.StreamResponse:
    """Send what happened; with `follow=1` also what happens next."""
    events, follow = request.app[DAEMON].events, orders.flag(request.query, "follow")
    number = orders.number(request.query.get("after", "0"))
    if "Last-Event-ID" in request.headers:  # of who was following before: the newer one
        number = orders.number(request.headers["Last-Event-ID"], "Last-Event-ID")
    answer = await stream(request)
    while True:
        news = events.news  # before looking: what comes while we write counts, too
        for event in events.after(number):
            number = event.number
            await send(answer, f"id: {number}\ndata: {json.dumps(event.document())}\n\n")
        if not follow:
            return answer
        try:
            await asyncio.wait_for(news.wait(), KEEP_ALIVE_S)
        except TimeoutError:
            await send(answer, ":\n\n")  # a comment, by which those who have gone are found out


_LAST = {"name": "Last-Event-ID", "in": "header", "required": False, "schema": NUMBERED}
_EVENTS = operation(
    "what happened, as server-sent events: each one's data is an Event",
    stream_of(ref("Event")),
    {"after": NUMBERED, "follow": SWITCH},
    kind="text/event-stream",
)
_EVENTS["parameters"].append(_LAST)
ROUTES = [web.get("/v1/events", _events, allow_head=False)]
PATHS: dict[str, Any] = {"/v1/events": {"get": _EVENTS}}
