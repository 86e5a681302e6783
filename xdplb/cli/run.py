"""`xdplb run`: the daemon in the foreground, as a service manager wants it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xdplb.cli.main import Target
from xdplb.errors import ConfigError, RefusedError, XdplbError

if TYPE_CHECKING:
    from xdplb.daemon import Daemon

log = logging.getLogger("xdplb")

CONFIRM_S = (1.0, 86400.0)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Take another XDP program off the interface.")
@click.option(
    "--confirm", metavar="DURATION", help="Take back what was attached unless `xdplb confirm` comes within it: 30s, 2m."
)
@click.option("--self-test", is_flag=True, help="With --confirm: confirm when a self-test passes.")
@click.pass_obj
def run(target: Target, config: Path, replace: bool, confirm: str | None, self_test: bool) -> None:
    """Balance as CONFIG says, until SIGTERM or Ctrl-C.

    Forwarding goes on without the daemon; `xdplb detach` ends it.
    """
    from xdplb.config import read_file  # after click has parsed: `--help` needs none of it

    confirm_s = parse_confirm(confirm, self_test)
    logging.basicConfig(format="%(asctime)s %(levelname).1s %(message)s", level=logging.INFO, datefmt="%H:%M:%S")
    text, checked = read_file(config)
    if target.given:
        checked = dataclasses.replace(checked, balancer=dataclasses.replace(checked.balancer, name=target.given))
    if os.geteuid() != 0:
        raise RefusedError("run needs root: it loads an XDP program (CAP_BPF, CAP_NET_ADMIN)")
    from xdplb.daemon import Daemon

    os.umask(0o077)  # the folder of the admin socket may be open to others; no file in it is
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a probe is a socket
    asyncio.run(_run(lambda: Daemon(config.absolute(), checked, confirm_s, self_test, text, target.given), replace))


def parse_confirm(text: str | None, self_test: bool) -> float | None:
    """Return the seconds of --confirm. Raises ConfigError."""
    from xdplb.values import parse_duration, within

    if text is None:
        if self_test:
            raise ConfigError("--self-test", "does nothing without --confirm", "add --confirm 30s")
        return None
    return within("--confirm", parse_duration("--confirm", text), *CONFIRM_S)


async def _run(make_daemon: Callable[[], Daemon], replace: bool) -> None:
    from xdplb.admin.certificates import make_context
    from xdplb.admin.doors import set_modes, take_socket, take_tcp
    from xdplb.admin.server import serve

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    daemon, tasks = make_daemon(), set[asyncio.Task[None]]()
    hangup = partial(_hang_up, daemon, tasks)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: log.warning("SIGHUP: not started yet"))
    admin = daemon.config.admin
    if admin.listen:
        make_context(admin)  # before anything is touched
    daemon.lock()
    path = daemon.place.run / "admin.sock"
    with contextlib.closing(take_socket(path, admin)) as listener, _taken(take_tcp(admin)) as tcp:
        daemon.admin_changed = lambda: set_modes(path, daemon.config.admin)
        async with daemon.network:
            try:
                if await _finished(daemon.start(replace), stop):
                    runner = await serve(daemon, listener, tcp)
                    _tell_systemd("READY=1")
                    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup)
                    await _finished(daemon.run(), stop)
                    await runner.cleanup()
            finally:
                left = await daemon.close()
                path.unlink(missing_ok=True)
    log.info("stopped; %s", left)


def _taken(listener: socket.socket | None) -> contextlib.AbstractContextManager[socket.socket | None]:
    return contextlib.closing(listener) if listener else contextlib.nullcontext()


def _hang_up(daemon: Daemon, tasks: set[asyncio.Task[None]]) -> None:
    """Take up the file, as SIGHUP asks; `tasks` keep the work from being forgotten."""
    task = asyncio.get_running_loop().create_task(_reload(daemon))
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _reload(daemon: Daemon) -> None:
    """Tell the service manager about it, too (systemd.service(5), Type=notify-reload)."""
    _tell_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
    try:
        await daemon.running.reload()
    except XdplbError:
        pass  # it is in the log, and in the status
    finally:
        _tell_systemd("READY=1")


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


def _tell_systemd(text: str) -> None:
    """Send a state to the service manager, as sd_notify(3) does."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notify:
            notify.sendto(text.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)
