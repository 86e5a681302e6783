"""The admin API's server (aiohttp): reads answer from the daemon's state, changes return when they are in the maps.

Handlers stand in files of their own, with what is described of them: `openapi` lists these, `gate` checks requests.
Errors are `{"error": text}`: 4xx for what the caller got wrong, 500 for what went wrong here.
"""

from __future__ import annotations

import logging
import socket
from functools import partial

from aiohttp import web

from xdplb.admin import openapi, trace
from xdplb.admin.answers import DAEMON, MOST_BYTES
from xdplb.admin.callers import Caller, unknown_users
from xdplb.admin.certificates import Certificates
from xdplb.admin.doors import Door, take_socket
from xdplb.admin.gate import errors, gate
from xdplb.daemon import Daemon
from xdplb.logs import log_event

__all__ = ["serve", "take_socket"]

log = logging.getLogger("xdplb")


async def serve(daemon: Daemon, listener: socket.socket, tcp: socket.socket | None = None) -> web.AppRunner:
    """Answer on the socket, and with `tcp` there as mutual TLS, until the runner is cleaned up. Raises ConfigError."""
    app = web.Application(middlewares=[errors, gate], client_max_size=MOST_BYTES)
    app[DAEMON] = daemon
    for part in (*openapi.PARTS, openapi):
        app.add_routes(part.ROUTES)
    app.on_shutdown.append(trace.leave)
    doors: list[Door] = []
    app.on_shutdown.append(partial(_close, doors))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    for problem in unknown_users(daemon.config.admin):
        log_event(log, logging.WARNING, "unknown_user", problem)
    for each, certificates in (
        (listener, None),
        (tcp, Certificates(daemon.config.admin, daemon.admin_warnings) if tcp else None),
    ):
        if each is not None and runner.server is not None:
            door = Door(each, runner.server, lambda: daemon.config.admin)
            door.refused = partial(_refused, daemon)
            door.open(certificates)
            doors.append(door)
    return runner


async def _close(doors: list[Door], app: web.Application) -> None:
    for door in doors:
        await door.close()


def _refused(daemon: Daemon, caller: Caller) -> None:
    """Note who connected and may nothing."""
    daemon.audit.write(caller.who, "CONNECT", "admin.sock", 403, 0.0, **caller.details)
