"""Who changed what."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from xdplb.admin import orders
from xdplb.admin.answers import DAEMON, answer
from xdplb.admin.shapes import NUMBERED, many, operation, record, ref, whole

MOST = 1000  # lines in one answer


async def _audit(request: web.Request) -> web.Response:
    query = request.query
    after = orders.number(query.get("after", "0"))
    limit = orders.whole("limit", query.get("limit", "100"), 1, MOST)
    return answer({"changes": await asyncio.to_thread(request.app[DAEMON].audit.read, after, limit)})


ROUTES = [web.get("/v1/audit", _audit)]
PATHS: dict[str, Any] = {
    "/v1/audit": {
        "get": operation(
            "who changed what, and what was refused to whom: the last ones",
            record(changes=many(ref("Audited"))),
            {"after": NUMBERED, "limit": whole(1, MOST)},
            role="admin",
        )
    }
}
