"""Remembered flows."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from xdplb.admin.answers import DAEMON, answer, tell
from xdplb.admin.shapes import COUNT, operation, record


async def _clear_flows(request: web.Request) -> web.Response:
    forgotten = request.app[DAEMON].sweeper.forget()
    tell(request, "flows", f"{forgotten} remembered flows forgotten")
    return answer({"forgotten": forgotten})


ROUTES = [web.delete("/v1/flows", _clear_flows)]
PATHS: dict[str, Any] = {"/v1/flows": {"delete": operation("forget all remembered flows", record(forgotten=COUNT))}}
