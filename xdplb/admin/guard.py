"""The block and allow lists."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from xdplb.admin.answers import DAEMON, answer, read_body, tell
from xdplb.admin.shapes import ADDRESS, NUMBER, TEXT, many, maybe, operation, record
from xdplb.errors import ConfigError
from xdplb.guard import parse_change
from xdplb.values import parse_address

_WORDS = {"block": "blocked", "allow": "allowed", None: "off the lists"}


async def _look_up(request: web.Request) -> web.Response:
    daemon = request.app[DAEMON]
    address = parse_address("address", request.query.get("address", ""))
    found = daemon.lists.longest(address)
    prefix, verdict = found if found else (None, None)
    return answer({"address": str(address), "prefix": prefix, "verdict": verdict})


async def _change_lists(request: web.Request) -> web.Response:
    began, daemon = time.monotonic(), request.app[DAEMON]
    changes: dict[str, str | None] = {}
    for text, verdict in (await read_body(request)).items():
        if verdict is not None and (not isinstance(verdict, str) or verdict not in _WORDS):
            raise ConfigError(text, f"{verdict!r} is not known", 'give "block", "allow" or null')
        changes[parse_change("prefix", text)] = verdict
    await daemon.guard(changes)
    shown = [f"{prefix} {_WORDS[verdict]}" for prefix, verdict in list(changes.items())[:10]]
    more = f" and {len(changes) - 10} more" if len(changes) > 10 else ""
    tell(request, "guard", ", ".join(shown) + more if shown else "nothing")
    return answer({"changed": sorted(changes), "took_ms": round((time.monotonic() - began) * 1e3, 2)})


_VERDICT = {"type": "string", "enum": ["block", "allow"]}
ROUTES = [web.get("/v1/guard", _look_up), web.patch("/v1/guard", _change_lists)]
PATHS: dict[str, Any] = {
    "/v1/guard": {
        "get": operation(
            "what the lists say of an address",
            record(address=TEXT, prefix=maybe(TEXT), verdict=maybe(_VERDICT)),
            {"address": {**ADDRESS, "x-required": True}},
        ),
        "patch": operation(
            "put prefixes on a list, or with null off both",
            record(changed=many(TEXT), took_ms=NUMBER),
            body={"type": "object", "additionalProperties": {"enum": ["block", "allow", None]}},
        ),
    }
}
