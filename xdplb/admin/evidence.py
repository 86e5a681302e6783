"""What proxies report of their backends."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from xdplb.admin.accounts import LARGEST, parse_accounts
from xdplb.admin.answers import DAEMON, answer, read_json
from xdplb.admin.shapes import COUNT, TEXT, body, many, operation, record


async def _take_evidence(request: web.Request) -> web.Response:
    daemon = request.app[DAEMON]
    known = {(service.name, b.backend.name) for service in daemon.services for b in service.backends}
    accounts, unknown = parse_accounts(await read_json(request), known)
    daemon.evidence.take(accounts)
    return answer({"taken": len(accounts), "unknown": sorted(f"{service}/{name}" for service, name in unknown)})


_COUNTED = {"type": "integer", "minimum": 0, "maximum": LARGEST}
_ACCOUNT = body(
    {"ok": _COUNTED, "failed": _COUNTED, "latency_s": {"type": "number", "minimum": 0, "maximum": LARGEST}},
    service=TEXT,
    backend=TEXT,
)
ROUTES = [web.post("/v1/evidence", _take_evidence)]
PATHS: dict[str, Any] = {
    "/v1/evidence": {
        "post": operation(
            "what a proxy saw of its backends since its last report",
            record(taken=COUNT, unknown=many(TEXT)),
            body={"anyOf": [_ACCOUNT, many(_ACCOUNT)]},
            audited=False,  # it comes every second
        )
    }
}
