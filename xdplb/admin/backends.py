"""Backends: which there are, whether they get new flows, and how many. A change answers when it is in the maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web

from xdplb import operators
from xdplb.admin import orders
from xdplb.admin.answers import DAEMON, answer, read_body, tell
from xdplb.admin.shapes import (
    ADDRESS,
    DURATION,
    NAME,
    SWITCH,
    Schema,
    body,
    many,
    maybe,
    operation,
    record,
    ref,
    whole,
)
from xdplb.daemon import Daemon
from xdplb.desired import Key, Overrides
from xdplb.errors import DaemonError
from xdplb.model import MAX_WEIGHT, Config

Order = Callable[[Config, Overrides], list[Key]]  # changes the overrides; returns which backends it is about
NOTHING: Mapping[Key, Any] = MappingProxyType({})


async def _departure(request: web.Request) -> web.Response:
    daemon, name = request.app[DAEMON], request.match_info["backend"]
    keys = operators.find_backend(daemon.config, daemon.kept.overrides, name, request.query.get("service"))
    return answer({"backends": daemon.departures(keys)}, headers={"ETag": f'"{daemon.revision}"'})


async def _check(request: web.Request) -> web.Response:
    daemon, name = request.app[DAEMON], request.match_info["backend"]
    keys = operators.find_backend(daemon.config, daemon.kept.overrides, name, request.query.get("service"))
    return answer({"checks": await daemon.checks.run(keys)})


async def _add(request: web.Request) -> web.Response:
    given, service = await read_body(request), request.match_info["service"]
    kind, cause = "add", f"added at {given.get('address')}"
    return await _change(request, kind, cause, lambda config, kept: orders.add(config, kept, service, given))


async def _put(request: web.Request) -> web.Response:
    given, (service, name) = await read_body(request), (request.match_info[n] for n in ("service", "backend"))
    cause = f"is to be at {given.get('address')}"
    return await _change(request, "add", cause, lambda config, kept: orders.put(config, kept, service, name, given))


async def _weigh(request: web.Request) -> web.Response:
    given, name, service = await read_body(request), request.match_info["backend"], request.query.get("service")
    cause = f"has weight {given.get('weight')}"
    return await _change(
        request, "weight", cause, lambda config, kept: orders.weigh(config, kept, name, service, given)
    )


async def _drain(request: web.Request) -> web.Response:
    name, query = request.match_info["backend"], request.query
    cause = f"drained for {query['for_s']} at the most" if "for_s" in query else "drained"
    return await _change(
        request, "drain", cause, lambda config, kept: orders.drain(config, kept, name, query, time.time())
    )


async def _undrain(request: web.Request) -> web.Response:
    name, service = request.match_info["backend"], request.query.get("service")
    order: Order = lambda config, kept: operators.undrain_backend(config, kept, name, service)  # noqa: E731
    return await _change(request, "undrain", "gets new flows again", order)


async def _remove(request: web.Request) -> web.Response:
    """Also say what breaks by it, which is known only before."""
    daemon, name, query = request.app[DAEMON], request.match_info["backend"], request.query
    keys = operators.find_backend(daemon.config, daemon.kept.overrides, name, query.get("service"))
    now = orders.flag(query, "now")
    order: Order = lambda config, kept: orders.remove(config, kept, name, query, time.time())  # noqa: E731
    cause = "removed at once" if now else "removed when its flows are gone"
    return await _change(request, "remove", cause, order, daemon.breaks(keys) if now else {})


async def _change(
    request: web.Request, kind: str, cause: str, order: Order, breaks: Mapping[Key, Any] = NOTHING
) -> web.Response:
    """Carry an order out, or with `plan=1` say what it would do."""
    began, daemon = time.monotonic(), request.app[DAEMON]
    overrides = daemon.kept.overrides.copy()
    keys = order(daemon.config, overrides)
    if orders.flag(request.query, "plan"):
        return answer(await daemon.plan(daemon.config, overrides))
    if overrides == daemon.kept.overrides and not daemon.last.error:  # it is so already: nothing happened
        return _changed(daemon, 0, keys, breaks, began)
    written = await daemon.change(overrides)
    tell(request, kind, cause, keys)
    return _changed(daemon, written, keys, breaks, began)


def _changed(daemon: Daemon, written: int, keys: list[Key], breaks: Mapping[Key, Any], began: float) -> web.Response:
    """Say what the change came to: each backend's state now, the writes, the time since the request."""
    if daemon.last.error:
        raise DaemonError(f"the change is kept but not in the kernel yet: {daemon.last.error}")
    now = {(entry["service"], entry["name"]): entry for entry in daemon.departures(keys)}
    backends = []
    for service, name in keys:
        gone = {"service": service, "name": name, "state": "removed", "reason": ""}
        told = {"breaks": breaks[service, name]} if (service, name) in breaks else {}
        backends.append({**now.get((service, name), gone), **told})
    took_ms = round((time.monotonic() - began) * 1e3, 2)
    document = {"backends": backends, "writes": written, "took_ms": took_ms}
    return answer(document, headers={"ETag": f'"{daemon.revision}"'})


_WEIGHT = whole(0, MAX_WEIGHT)
_DONE: Schema = {"anyOf": [ref("Changed"), ref("Plan")], "description": "with plan=1, a Plan"}
_WHERE = {"service": NAME}
_ONLY = {**_WHERE, "plan": SWITCH}
_BACKEND = "/v1/backends/{backend}"
_OF_SERVICE = "/v1/services/{service}/backends"
ROUTES = [
    web.get(_BACKEND, _departure),
    web.delete(_BACKEND, _remove),
    web.post(f"{_BACKEND}/check", _check),
    web.put(f"{_BACKEND}/weight", _weigh),
    web.put(f"{_BACKEND}/drain", _drain),
    web.delete(f"{_BACKEND}/drain", _undrain),
    web.post(_OF_SERVICE, _add),
    web.put(_OF_SERVICE + "/{backend}", _put),
]
PATHS: dict[str, Any] = {
    _BACKEND: {
        "get": operation("how far its leaving is", record(backends=many(ref("Departure"))), _WHERE),
        "delete": operation(
            "drain it, and remove it when its flows are gone", _DONE, {**_ONLY, "for_s": DURATION, "now": SWITCH}
        ),
    },
    f"{_BACKEND}/check": {
        "post": operation("run each check of it once", record(checks=many(ref("Probed"))), _WHERE, audited=False)
    },
    f"{_BACKEND}/weight": {"put": operation("give it another weight", _DONE, _ONLY, body(weight=_WEIGHT))},
    f"{_BACKEND}/drain": {
        "put": operation("send it no new flows", _DONE, {**_ONLY, "for_s": DURATION}),
        "delete": operation("take that back, or a removal that is not over", _DONE, _ONLY),
    },
    _OF_SERVICE: {
        "post": operation(
            "add a backend", _DONE, {"plan": SWITCH}, body({"name": maybe(NAME), "weight": _WEIGHT}, address=ADDRESS)
        )
    },
    _OF_SERVICE + "/{backend}": {
        "put": operation(
            "have this backend with this weight", _DONE, {"plan": SWITCH}, body({"weight": _WEIGHT}, address=ADDRESS)
        )
    },
}
