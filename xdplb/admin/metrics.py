"""`GET /metrics`: what `xdplb.metrics` makes of the daemon's values, on the admin socket and where `[metrics]` says.

A scrape of ten thousand backends is ten megabytes of text. It is made in pieces, and checks have their turn in between;
one scrape at a time, so that many who ask cannot take the loop's time from it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from xdplb import logs
from xdplb.admin.answers import DAEMON
from xdplb.daemon import Daemon
from xdplb.desired import Key
from xdplb.errors import RefusedError
from xdplb.health.watch import boot_time
from xdplb.metrics import OPENMETRICS, TEXT, Exposition, Tally, add_services, add_summary
from xdplb.model import Listen

PIECE_BYTES = 1 << 18  # handed to the socket at a time
_BACKLOG = 16


async def expose(daemon: Daemon, openmetrics: bool = False) -> Exposition:
    """Return all values of now. Raises KernelError."""
    out = Exposition(openmetrics)
    slots = await daemon.count_slots()
    document, traffic = await daemon.summary()
    add_summary(out, document)
    _add_own(out, daemon)
    values = traffic, daemon.sweeper.counts()
    for _ in add_services(out, daemon.services, slots, values, _tallies(daemon)):
        await asyncio.sleep(0)
    return out


def _tallies(daemon: Daemon) -> Callable[[Key], Tally]:
    watch, offset = daemon.checks.watch, time.time() - boot_time()

    def tally(key: Key) -> Tally:
        passed, failed, since = watch.totals(key)
        up = health.up if (health := watch.health.get(key)) else None
        return Tally(up, None if since is None else since + offset, passed, failed)

    return tally


def _add_own(out: Exposition, daemon: Daemon) -> None:
    """Add what no status document says: the daemon's own counters, and what the process takes."""
    counted = daemon.counted
    out.add("xdplb_reconciles_total", counted.runs)
    out.add("xdplb_reconcile_errors_total", counted.errors)
    out.add("xdplb_reconcile_writes_total", counted.writes)
    out.add("xdplb_reconcile_last_success_timestamp_seconds", counted.succeeded_at)
    for state, number in daemon.events.totals.items():
        out.add("xdplb_events_total", number, state)
    out.add("xdplb_log_suppressed_total", logs.LIMITER.total)
    pages, resident = (int(word) for word in Path("/proc/self/statm").read_text().split()[:2])
    times = os.times()
    out.add("process_cpu_seconds_total", round(times.user + times.system, 2))
    out.add("process_resident_memory_bytes", resident * resource.getpagesize())
    out.add("process_virtual_memory_bytes", pages * resource.getpagesize())
    out.add("process_open_fds", len(os.listdir("/proc/self/fd")))
    out.add("process_max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    out.add("process_start_time_seconds", round(time.time() - boot_time() + _began_s(), 2))


def _began_s() -> float:
    """Return when this process began, in seconds since the boot (proc(5), stat, field 22)."""
    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(words[19]) / os.sysconf("SC_CLK_TCK")


async def _metrics(request: web.Request) -> web.StreamResponse:
    openmetrics = "application/openmetrics-text" in request.headers.get("Accept", "")
    daemon = request.app[DAEMON]
    async with daemon.scraping:
        out = await expose(daemon, openmetrics)
    response = web.StreamResponse(headers={"Content-Type": OPENMETRICS if openmetrics else TEXT})
    await response.prepare(request)
    for text in out.text():
        data = memoryview(text.encode())
        for at in range(0, len(data), PIECE_BYTES):
            await response.write(data[at : at + PIECE_BYTES])
    await response.write_eof()
    return response


# --- a port of its own --------------------------------------------------------------------------------------


def take_listener(listen: Listen) -> socket.socket:
    """Bind the port of `[metrics]`. Raises RefusedError."""
    family = socket.AF_INET6 if listen.address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(listen.address), listen.port))
        listener.listen(_BACKLOG)  # who is second is told so now, and not when it is too late to refuse the start
    except OSError as error:
        listener.close()
        fix = "give metrics.listen another port, or an address of this host"
        raise RefusedError(f"metrics.listen: {listen} cannot be listened on ({error.strerror}); {fix}") from None
    return listener


async def serve_metrics(daemon: Daemon, listener: socket.socket) -> web.AppRunner:
    """Answer `GET /metrics`, and nothing else, until the runner is cleaned up."""
    app = web.Application()
    app[DAEMON] = daemon
    app.add_routes(ROUTES)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner


ROUTES: list[web.RouteDef] = [web.get("/metrics", _metrics)]

PATHS: dict[str, Any] = {
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "All metrics, in Prometheus' text format, or OpenMetrics if that is accepted",
            "responses": {
                "200": {
                    "description": "The text; docs/metrics.md has a table of all names",
                    "content": {kind: {"schema": {"type": "string"}} for kind in (TEXT, OPENMETRICS)},
                }
            },
        }
    }
}
