"""The admin API's server (aiohttp): reads answer from the daemon's state, changes return when they are in the maps.

Errors are `{"error": text}`: 400 for what the caller got wrong, 500 for what went wrong here.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from xdplb.daemon import Daemon
from xdplb.desired import add_backend, drain_backend, remove_backend
from xdplb.errors import ConfigError, DaemonError, RefusedError, XdplbError
from xdplb.guard import parse_change
from xdplb.model import DEFAULT_WEIGHT
from xdplb.values import make_backend, parse_address

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DAEMON = web.AppKey("daemon", Daemon)


def take_socket(path: Path) -> socket.socket:
    """Bind the admin socket, replacing one that nobody listens on. Raises RefusedError when it is taken."""
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
    app[_DAEMON] = daemon
    app.router.add_get("/v1/status", _status)
    app.router.add_post("/v1/confirm", _confirm)
    app.router.add_post("/v1/services/{service}/backends", _add)
    app.router.add_delete("/v1/backends/{backend}", _remove)
    app.router.add_put("/v1/backends/{backend}/drain", _drain)
    app.router.add_delete("/v1/backends/{backend}/drain", _undrain)
    app.router.add_delete("/v1/flows", _clear_flows)
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
        return _answer({"error": str(error)}, 400)
    except XdplbError as error:
        return _answer({"error": str(error)}, 500)
    except web.HTTPException as error:
        return _answer({"error": f"{request.method} {request.path}: {error.reason}"}, error.status)


def _answer(document: Any, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(document), status=status, content_type="application/json")


async def _status(request: web.Request) -> web.Response:
    return _answer(await request.app[_DAEMON].status())


async def _confirm(request: web.Request) -> web.Response:
    return _answer({"confirmed": await request.app[_DAEMON].confirm()})


async def _add(request: web.Request) -> web.Response:
    began, daemon = time.monotonic(), request.app[_DAEMON]
    body = await _body(request)
    unknown = set(body) - {"address", "name", "weight"}
    if unknown:
        raise ConfigError(sorted(unknown)[0], "unknown key", "known here: address, name, weight")
    address, name, weight = body.get("address"), body.get("name"), body.get("weight", DEFAULT_WEIGHT)
    if not isinstance(address, str):
        raise ConfigError("address", f"{address!r} is no text", "give the backend's IP address")
    if name is not None and not isinstance(name, str):
        raise ConfigError("name", f"{name!r} is no text", "give a name or leave it out")
    if not isinstance(weight, int) or isinstance(weight, bool):
        raise ConfigError("weight", f"{weight!r} is no whole number", "give 0 to 65535")
    backend = make_backend("backend", address, name, weight)
    service, overrides = request.match_info["service"], daemon.kept.overrides.copy()
    add_backend(daemon.config, overrides, service, backend)
    written = await daemon.change(overrides)
    return _changed(daemon, written, [(service, backend.name)], began)


async def _remove(request: web.Request) -> web.Response:
    began, daemon = time.monotonic(), request.app[_DAEMON]
    overrides = daemon.kept.overrides.copy()
    found = remove_backend(daemon.config, overrides, request.match_info["backend"], request.query.get("service"))
    written = await daemon.change(overrides)
    return _changed(daemon, written, found, began)


async def _drain(request: web.Request) -> web.Response:
    return await _set_drain(request, drain=True)


async def _undrain(request: web.Request) -> web.Response:
    return await _set_drain(request, drain=False)


async def _set_drain(request: web.Request, drain: bool) -> web.Response:
    began, daemon = time.monotonic(), request.app[_DAEMON]
    overrides = daemon.kept.overrides.copy()
    name, service = request.match_info["backend"], request.query.get("service")
    found = drain_backend(daemon.config, overrides, name, service, drain)
    written = await daemon.change(overrides)
    return _changed(daemon, written, found, began)


async def _clear_flows(request: web.Request) -> web.Response:
    return _answer({"forgotten": request.app[_DAEMON].sweeper.forget()})


async def _look_up(request: web.Request) -> web.Response:
    daemon = request.app[_DAEMON]
    address = parse_address("address", request.query.get("address", ""))
    found = daemon.lists.longest(address)
    prefix, verdict = found if found else (None, None)
    return _answer({"address": str(address), "prefix": prefix, "verdict": verdict})


async def _change_lists(request: web.Request) -> web.Response:
    began, daemon = time.monotonic(), request.app[_DAEMON]
    changes: dict[str, str | None] = {}
    for text, verdict in (await _body(request)).items():
        if verdict not in ("block", "allow", None):
            raise ConfigError(text, f"{verdict!r} is not known", 'give "block", "allow" or null')
        changes[parse_change("prefix", text)] = verdict
    await daemon.guard(changes)
    return _answer({"changed": sorted(changes), "took_ms": round((time.monotonic() - began) * 1e3, 2)})


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (ValueError, LookupError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ConfigError("body", "is no JSON object", 'send {"address": "192.0.2.1"}')
    return body


def _changed(daemon: Daemon, written: int, keys: list[tuple[str, str]], began: float) -> web.Response:
    """Say what the change came to: each backend's state now, the writes, the time since the request."""
    if daemon.last.error:
        raise DaemonError(f"the change is kept but not in the kernel yet: {daemon.last.error}")
    now = {
        (service.name, b.backend.name): {"state": str(b.state), "reason": b.reason}
        for service in daemon.services
        for b in service.backends
    }
    backends = [
        {"service": s, "name": name, **now.get((s, name), {"state": "removed", "reason": ""})} for s, name in keys
    ]
    took_ms = round((time.monotonic() - began) * 1e3, 2)
    return _answer({"backends": backends, "writes": written, "took_ms": took_ms})
