"""`xdplb run`: the daemon in the foreground, as a service manager wants it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import faulthandler
import logging
import os
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xdplb import capabilities, logs, notify
from xdplb.cli.main import Target
from xdplb.errors import ConfigError, XdplbError
from xdplb.logs import log_event

if TYPE_CHECKING:
    from xdplb.daemon import Daemon

log = logging.getLogger("xdplb")

CONFIRM_S = (1.0, 86400.0)
STUCK_S = 60.0  # a daemon that has not come round for so long (a reconcile compiles for a second) is given up
TICK_S = 1.0  # between two words to systemd, at the most


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Take another XDP program off the interface.")
@click.option(
    "--confirm", metavar="DURATION", help="Take back what was attached unless `xdplb confirm` comes within it: 30s, 2m."
)
@click.option("--self-test", is_flag=True, help="With --confirm: confirm when a self-test passes.")
@click.option("--detach", "and_detach", is_flag=True, help="Take the program off at the end, and end forwarding.")
@click.option(
    "--log-format",
    default="auto",
    type=click.Choice([one.value for one in logs.Format]),
    show_default=True,
    help="`auto`: as XDPLB_LOG says, else the journal's fields if that reads it, else text.",
)
@click.option(
    "--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), show_default=True
)
@click.pass_obj
def run(
    target: Target,
    config: Path,
    replace: bool,
    confirm: str | None,
    self_test: bool,
    and_detach: bool,
    log_format: str,
    log_level: str,
) -> None:
    """Balance as CONFIG says, until SIGTERM or Ctrl-C.

    Forwarding goes on without the daemon; `xdplb detach` ends it.

    \b
    Example:
      xdplb run /etc/xdplb.toml --confirm 30s
    """
    from xdplb.config import read_file  # after click has parsed: `--help` needs none of it

    confirm_s = parse_confirm(confirm, self_test)
    logs.begin(logs.Format(log_format), log_level)
    text, checked = read_file(config)
    if target.given:
        checked = dataclasses.replace(checked, balancer=dataclasses.replace(checked.balancer, name=target.given))
    capabilities.require("run")
    from xdplb.daemon import Daemon

    os.umask(0o077)  # the folder of the admin socket may be open to others; no file in it is
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a probe is a socket
    faulthandler.enable()  # a watchdog ends what hangs by SIGABRT: the log then says where that was
    make = partial(Daemon, config.absolute(), checked, confirm_s, self_test, text, target.given)
    asyncio.run(_run(make, replace, and_detach))


def parse_confirm(text: str | None, self_test: bool) -> float | None:
    """Return the seconds of --confirm. Raises ConfigError."""
    from xdplb.values import parse_duration, within

    if text is None:
        if self_test:
            raise ConfigError("--self-test", "does nothing without --confirm", "add --confirm 30s")
        return None
    return within("--confirm", parse_duration("--confirm", text), *CONFIRM_S)


async def _run(make_daemon: Callable[[], Daemon], replace: bool, and_detach: bool) -> None:
    from xdplb.admin.certificates import make_context
    from xdplb.admin.doors import set_modes, take_socket, take_tcp
    from xdplb.admin.metrics import serve_metrics
    from xdplb.admin.server import serve

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    daemon, tasks = make_daemon(), set[asyncio.Task[None]]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _refuse_reload)
    admin = daemon.config.admin
    if admin.listen:
        make_context(admin)  # before anything is touched
    daemon.lock()
    path, given = daemon.place.run / "admin.sock", notify.gives_sockets()
    with (
        contextlib.closing(take_socket(path, admin)) as listener,
        _taken(take_tcp(admin)) as tcp,
        _metrics_port(daemon) as port,
    ):
        daemon.admin_changed = lambda: set_modes(path, daemon.config.admin)
        async with daemon.network:
            try:
                if await _finished(daemon.start(replace), stop):
                    runners = [await serve(daemon, listener, tcp)]
                    runners += [await serve_metrics(daemon, port)] if port else []
                    notify.tell("READY=1", _status_line(daemon))
                    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, partial(_hang_up, daemon, tasks))
                    await _finished(_run_watched(daemon), stop)
                    for runner in runners:
                        await runner.cleanup()
            finally:
                notify.tell("STOPPING=1")
                left = await daemon.close()
                if not given:
                    path.unlink(missing_ok=True)
        if and_detach:
            left = await _detach(daemon, keep=path if given else None)
    log_event(log, logging.INFO, "stop", f"stopped; {left}", left=left)


def _refuse_reload() -> None:
    log_event(log, logging.WARNING, "reload_refused", "SIGHUP: not started yet; the file is about to be taken up")


def _metrics_port(daemon: Daemon) -> contextlib.AbstractContextManager[socket.socket | None]:
    """Take the port of `[metrics]`, before anything is attached. Raises RefusedError."""
    from xdplb.admin.metrics import take_listener

    listen = daemon.config.metrics.listen
    return contextlib.closing(take_listener(listen)) if listen else contextlib.nullcontext()


async def _detach(daemon: Daemon, keep: Path | None) -> str:
    """End forwarding, at the orderly end of a daemon that was told to; a socket that is systemd's stays."""
    from xdplb import tunnel
    from xdplb.dataplane import loader

    found = loader.detach(daemon.place)
    await tunnel.detach(daemon.place)
    if keep is None:
        daemon.place.remove()
    else:
        shutil.rmtree(daemon.place.pins, ignore_errors=True)
        (daemon.place.run / "spec.json").unlink(missing_ok=True)
    return f"detached from {len(found)} interface(s), nothing is forwarded"


# --- systemd ------------------------------------------------------------------------------------------------


async def _run_watched(daemon: Daemon) -> None:
    """Run the daemon, and tell systemd how it is."""
    telling = asyncio.create_task(_keep_telling(daemon))
    try:
        await daemon.run()
    finally:
        telling.cancel()


async def _keep_telling(daemon: Daemon) -> None:
    """Say now and then that the loop is alive and does not wait for one thing for ever, and who is up."""
    watchdog_s, told = notify.watchdog_s(), ""
    while True:
        await asyncio.sleep(min(TICK_S, watchdog_s / 3) if watchdog_s else TICK_S)
        logs.LIMITER.tell()
        if watchdog_s and time.monotonic() - daemon.went_round < STUCK_S:
            notify.tell("WATCHDOG=1")
        if (line := _status_line(daemon)) != told:
            notify.tell(line)
            told = line


def _status_line(daemon: Daemon) -> str:
    """Return what `systemctl status` shows."""
    backends = [b for service in daemon.services for b in service.backends if b.lent_by is None]
    serving = sum(b.serves for b in backends)
    trouble = f"; {logs.escape(daemon.last.error)}" if daemon.last.error else ""
    return f"STATUS={serving} of {len(backends)} backends of {len(daemon.services)} services get new flows{trouble}"


def _taken(listener: socket.socket | None) -> contextlib.AbstractContextManager[socket.socket | None]:
    return contextlib.closing(listener) if listener else contextlib.nullcontext()


def _hang_up(daemon: Daemon, tasks: set[asyncio.Task[None]]) -> None:
    """Take up the file, as SIGHUP asks; `tasks` keep the work from being forgotten."""
    task = asyncio.get_running_loop().create_task(_reload(daemon))
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _reload(daemon: Daemon) -> None:
    """Tell the service manager about it, too (systemd.service(5), Type=notify-reload)."""
    notify.tell_reloading()
    try:
        await daemon.running.reload()
    except XdplbError:
        pass  # it is in the log, and in the status
    finally:
        notify.tell("READY=1", _status_line(daemon))


async def _finished(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Do the work until it ends or somebody wants to stop; tell whether it ended."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    finally:
        stopping.cancel()
