"""The admin API's server (aiohttp): reads answer from the daemon's state, changes return when they are in the maps.

Errors are `{"error": text}`: 400 for what the caller got wrong, 500 for what went wrong here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiohttp import web

from xdplb import notify, operators
from xdplb.admin import metrics, orders
from xdplb.admin.accounts import parse_accounts
from xdplb.admin.answers import DAEMON, answer, read_body, read_json
from xdplb.config import parse_config
from xdplb.daemon import Daemon
from xdplb.desired import Key, Overrides
from xdplb.errors import ConfigError, DaemonError, RefusedError, XdplbError
from xdplb.guard import parse_change
from xdplb.model import Config
from xdplb.values import parse_address

Order = Callable[[Config, Overrides], list[Key]]  # changes the overrides; returns which backends it is about
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEEP_ALIVE_S = 15.0
NOTHING: Mapping[Key, Any] = MappingProxyType({})


def take_socket(path: Path) -> socket.socket:
    """Bind the admin socket, replacing one that nobody listens on. Raises RefusedError when it is taken.

    One that systemd opened there (xdplb.socket) is taken as it is.
    """
    if given := notify.given_socket(path):
        return given
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if path.is_socket():
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as other:
            try:
                other.connect(str(path))
            except OSError:
                path.unlink()  # left by a daemon that was killed
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        fix = "end the program that listens there (`ss -xlp`), or set another balancer.name"
        raise RefusedError(f"admin socket {path} is taken ({error.strerror}); {fix}") from None
    path.chmod(0o600)
    return listener


async def serve(daemon: Daemon, listener: socket.socket) -> web.AppRunner:
    """Answer on the socket until the runner is cleaned up."""
    app = web.Application(middlewares=[_errors])
    app[DAEMON] = daemon
    app.add_routes(metrics.ROUTES)
    app.router.add_get("/v1/status", _status)
    app.router.add_post("/v1/confirm", _confirm)
    app.router.add_get("/v1/events", _events)
    app.router.add_post("/v1/backends/{backend}/check", _check)
    app.router.add_post("/v1/services/{service}/backends", _add)
    app.router.add_delete("/v1/backends/{backend}", _remove)
    app.router.add_get("/v1/backends/{backend}", _departure)
    app.router.add_put("/v1/backends/{backend}/weight", _weigh)
    app.router.add_put("/v1/backends/{backend}/drain", _drain)
    app.router.add_delete("/v1/backends/{backend}/drain", _undrain)
    app.router.add_delete("/v1/flows", _clear_flows)
    app.router.add_post("/v1/plan", _plan)
    app.router.add_post("/v1/evidence", _take_evidence)
    app.router.add_get("/v1/guard", _look_up)
    app.router.add_patch("/v1/guard", _change_lists)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConfigError as error:
        return answer({"error": str(error)}, 400)
    except XdplbError as error:
        return answer({"error": str(error)}, 500)
    except web.HTTPException as error:
        return answer({"error": f"{request.method} {request.path}: {error.reason}"}, error.status)


async def _status(request: web.Request) -> web.Response:
    return answer(await request.app[DAEMON].status())


async def _confirm(request: web.Request) -> web.Response:
    return answer({"confirmed": await request.app[DAEMON].confirm()})


async def _check(request: web.Request) -> web.Response:
    daemon, name = request.app[DAEMON], request.match_info["backend"]
    keys = operators.find_backend(daemon.config, daemon.kept.overrides, name, request.query.get("service"))
    return answer({"checks": await daemon.checks.run(keys)})


async def _events(request: web.Request) -> web.StreamResponse:
    """Send what happened as server-sent events (HTML Living Standard, 9.2); with `follow=1` also what happens next."""
    events, follow = request.app[DAEMON].events, orders.flag(request.query, "follow")
    number = orders.number(request.headers.get("Last-Event-ID") or request.query.get("after", "0"))
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await answer.prepare(request)
    while True:
        news = events.news  # before looking: what comes while we write counts, too
        for event in events.after(number):
            number = event.number
            await answer.write(f"id: {number}\ndata: {json.dumps(event.document())}\n\n".encode())
        if not follow:
            return answer
        try:
            await asyncio.wait_for(news.wait(), KEEP_ALIVE_S)
        except TimeoutError:
            await answer.write(b":\n\n")  # a comment, by which those who have gone are found out


async def _add(request: web.Request) -> web.Response:
    body, service = await read_body(request), request.match_info["service"]
    return await _change(request, lambda config, overrides: orders.add(config, overrides, service, body))


async def _weigh(request: web.Request) -> web.Response:
    body, name, service = await read_body(request), request.match_info["backend"], request.query.get("service")
    return await _change(request, lambda config, overrides: orders.weigh(config, overrides, name, service, body))


async def _drain(request: web.Request) -> web.Response:
    name, query = request.match_info["backend"], request.query
    return await _change(request, lambda config, kept: orders.drain(config, kept, name, query, time.time()))


async def _undrain(request: web.Request) -> web.Response:
    name, service = request.match_info["backend"], request.query.get("service")
    return await _change(request, lambda config, kept: operators.undrain_backend(config, kept, name, service))


async def _remove(request: web.Request) -> web.Response:
    """Also say what breaks by it, which is known only before."""
    daemon, name, query = request.app[DAEMON], request.match_info["backend"], request.query
    keys = operators.find_backend(daemon.config, daemon.kept.overrides, name, query.get("service"))
    breaks = daemon.breaks(keys) if orders.flag(query, "now") else {}
    return await _change(request, lambda config, kept: orders.remove(config, kept, name, query, time.time()), breaks)


async def _change(request: web.Request, order: Order, breaks: Mapping[Key, Any] = NOTHING) -> web.Response:
    """Carry an order out, or with `plan=1` say what it would do."""
    began, daemon = time.monotonic(), request.app[DAEMON]
    overrides = daemon.kept.overrides.copy()
    keys = order(daemon.config, overrides)
    if orders.flag(request.query, "plan"):
        return answer(await daemon.plan(daemon.config, overrides))
    written = await daemon.change(overrides)
    return _changed(daemon, written, keys, breaks, began)


async def _departure(request: web.Request) -> web.Response:
    daemon, name = request.app[DAEMON], request.match_info["backend"]
    keys = operators.find_backend(daemon.config, daemon.kept.overrides, name, request.query.get("service"))
    return answer({"backends": daemon.departures(keys)})


async def _plan(request: web.Request) -> web.Response:
    daemon, text = request.app[DAEMON], (await read_body(request)).get("config")
    if not isinstance(text, str):
        raise ConfigError("config", f"{text!r} is no text", "give the text of a configuration file")
    return answer(await daemon.plan(parse_config(text), daemon.kept.overrides))


async def _clear_flows(request: web.Request) -> web.Response:
    return answer({"forgotten": request.app[DAEMON].sweeper.forget()})


async def _take_evidence(request: web.Request) -> web.Response:
    daemon = request.app[DAEMON]
    known = {(service.name, b.backend.name) for service in daemon.services for b in service.backends}
    accounts, unknown = parse_accounts(await read_json(request), known)
    daemon.evidence.take(accounts)
    return answer({"taken": len(accounts), "unknown": sorted(f"{service}/{name}" for service, name in unknown)})


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
        if verdict not in ("block", "allow", None):
            raise ConfigError(text, f"{verdict!r} is not known", 'give "block", "allow" or null')
        changes[parse_change("prefix", text)] = verdict
    await daemon.guard(changes)
    return answer({"changed": sorted(changes), "took_ms": round((time.monotonic() - began) * 1e3, 2)})


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
    return answer({"backends": backends, "writes": written, "took_ms": took_ms})
