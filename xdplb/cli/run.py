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
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xdplb.cli.main import Target
from xdplb.errors import ConfigError, RefusedError

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

    \b
    Example:
      xdplb run /etc/xdplb.toml --confirm 30s
    """
    from xdplb.config import read_config  # after click has parsed: `--help` needs none of it

    confirm_s = parse_confirm(confirm, self_test)
    logging.basicConfig(format="%(asctime)s %(levelname).1s %(message)s", level=logging.INFO, datefmt="%H:%M:%S")
    checked = read_config(config)
    if target.given:
        checked = dataclasses.replace(checked, balancer=dataclasses.replace(checked.balancer, name=target.given))
    if os.geteuid() != 0:
        raise RefusedError("run needs root: it loads an XDP program (CAP_BPF, CAP_NET_ADMIN)")
    from xdplb.daemon import Daemon

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a probe is a socket
    asyncio.run(_run(lambda: Daemon(config.absolute(), checked, confirm_s, self_test), replace))


def parse_confirm(text: str | None, self_test: bool) -> float | None:
    """Return the seconds of --confirm. Raises ConfigError."""
    from xdplb.values import parse_duration, within

    if text is None:
        if self_test:
            raise ConfigError("--self-test", "does nothing without --confirm", "add --confirm 30s")
        return None
    return within("--confirm", parse_duration("--confirm", text), *CONFIRM_S)


async def _run(make_daemon: Callable[[], Daemon], replace: bool) -> None:
    from xdplb.admin.server import serve, take_socket

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGHUP, lambda: log.warning("SIGHUP: the file is read at a start only; restart to take it up")
    )
    daemon = make_daemon()
    daemon.lock()
    path = daemon.place.run / "admin.sock"
    with contextlib.closing(take_socket(path)) as listener:
        async with daemon.network:
            try:
                if await _finished(daemon.start(replace), stop):
                    runner = await serve(daemon, listener)
                    _tell_systemd("READY=1")
                    await _finished(daemon.run(), stop)
                    await runner.cleanup()
            finally:
                left = await daemon.close()
                path.unlink(missing_ok=True)
    log.info("stopped; %s", left)


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
