"""The configuration: what another one would change."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from xdplb.admin.answers import DAEMON, answer, read_body
from xdplb.admin.shapes import TEXT, body, operation, ref
from xdplb.config import parse_config
from xdplb.errors import ConfigError


async def _plan(request: web.Request) -> web.Response:
    daemon, text = request.app[DAEMON], (await read_body(request)).get("config")
    if not isinstance(text, str):
        raise ConfigError("config", f"{text!r} is no text", "give the text of a configuration file")
    return answer(await daemon.plan(parse_config(text), daemon.kept.overrides))


ROUTES = [web.post("/v1/plan", _plan)]
PATHS: dict[str, Any] = {
    "/v1/plan": {
        "post": operation(
            "what a restart with this file would change", ref("Plan"), body=body(config=TEXT), role="read"
        )
    }
}
