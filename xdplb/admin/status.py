"""The state of everything, and the word that what was attached may stay."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from xdplb.admin.answers import DAEMON, answer, tell
from xdplb.admin.shapes import FLAG, operation, record, ref


async def _status(request: web.Request) -> web.Response:
    daemon = request.app[DAEMON]
    revision = daemon.revision  # before looking: a change while we do makes it stale
    return answer(await daemon.status(), headers={"ETag": f'"{revision}"'})


async def _confirm(request: web.Request) -> web.Response:
    waited = await request.app[DAEMON].confirm()
    if waited:
        tell(request, "confirm", "what was attached stays")
    return answer({"confirmed": waited})


ROUTES = [web.get("/v1/status", _status), web.post("/v1/confirm", _confirm)]
PATHS: dict[str, Any] = {
    "/v1/status": {"get": operation("services, backends and counters", ref("Status"))},
    "/v1/confirm": {"post": operation("what `run --confirm` attached stays", record(confirmed=FLAG))},
}
