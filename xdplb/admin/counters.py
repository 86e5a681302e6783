"""Counters as a stream: totals, and what they grew by in each second since the last look."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from xdplb.admin import orders
from xdplb.admin.answers import DAEMON, send, stream
from xdplb.admin.shapes import DURATION, operation, ref, stream_of, whole
from xdplb.daemon import Daemon
from xdplb.desired import Key
from xdplb.tables import Traffic
from xdplb.values import parse_duration, within

INTERVAL_S = (0.1, 60.0)
_NAMES = ("packets", "bytes", "connections")
Look = tuple[float, dict[Key, Traffic], dict[str, int]]


def look(daemon: Daemon) -> Look:
    """Return the time, what each backend got, and the verdicts."""
    sent = daemon.traffic()
    keys = {(s.name, b.backend.name): b.identity for s in daemon.services for b in s.backends}
    return time.monotonic(), {key: sent.get(identity, Traffic()) for key, identity in keys.items()}, daemon.verdicts()


def compare(before: Look | None, now: Look) -> dict[str, Any]:
    """Return the document of a look; without one before, rates are null. One that began anew grew by what it has."""
    took_s = now[0] - before[0] if before else 0.0
    old = before[1] if before else {}
    backends = [
        {
            "service": service,
            "backend": name,
            **_with_rates(_values(traffic), _values(old.get((service, name))), took_s),
        }
        for (service, name), traffic in now[1].items()
    ]
    were = before[2] if before else {}
    verdicts = {r: {"packets": n, "per_s": _rate(n, were.get(r, 0), took_s)} for r, n in now[2].items()}
    return {"at": time.time(), "interval_s": took_s or None, "backends": backends, "verdicts": verdicts}


def _values(traffic: Traffic | None) -> Mapping[str, int]:
    return {name: getattr(traffic, name) if traffic else 0 for name in _NAMES}


def _with_rates(now: Mapping[str, int], before: Mapping[str, int], took_s: float) -> dict[str, Any]:
    return {**now, **{f"{name}_per_s": _rate(now[name], before[name], took_s) for name in _NAMES}}


def _rate(now: int, before: int, took_s: float) -> float | None:
    return round((now - before if now >= before else now) / took_s, 3) if took_s else None


async def _counters(request: web.Request) -> web.StreamResponse:
    daemon, query = request.app[DAEMON], request.query
    interval_s = within("interval_s", parse_duration("interval_s", query.get("interval_s", "1")), *INTERVAL_S)
    left = orders.whole("count", query["count"], 1, 10**9) if "count" in query else None
    answer, before, due = await stream(request), None, time.monotonic()
    while left is None or left > 0:
        now = look(daemon)
        await send(answer, f"data: {json.dumps(compare(before, now))}\n\n")
        before, left = now, None if left is None else left - 1
        due = max(due + interval_s, time.monotonic())
        if left != 0:
            await asyncio.sleep(due - time.monotonic())
    return answer


ROUTES = [web.get("/v1/counters", _counters, allow_head=False)]
PATHS: dict[str, Any] = {
    "/v1/counters": {
        "get": operation(
            "counters of backends and verdicts, again and again, as server-sent events: each one's data is Counters",
            stream_of(ref("Counters")),
            {"interval_s": DURATION, "count": whole(1, 10**9)},
            kind="text/event-stream",
        )
    }
}
