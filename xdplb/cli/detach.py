"""`xdplb detach`: end forwarding, and remove program, link and tables from the kernel."""

from __future__ import annotations

import asyncio
import os
import shutil

import click

from xdplb.cli.main import Target
from xdplb.cli.shown import as_json, tell_json
from xdplb.errors import RefusedError


@click.command()
@click.option("--purge", is_flag=True, help="Forget run-time changes and the hash key too.")
@as_json
@click.pass_obj
def detach(target: Target, purge: bool, as_json: bool) -> None:
    """Take the program off its interface and remove its tables.

    The daemon must have been stopped.

    \b
    Example:
      xdplb detach
      xdplb detach --purge --json
    """
    from xdplb import state, tunnel
    from xdplb.dataplane.loader import Place
    from xdplb.dataplane.loader import detach as detach_all

    if os.geteuid() != 0:
        raise RefusedError("detach needs root")
    place = Place(target.name)
    refuse_while_running(place.run / "lock", target.name)
    found = detach_all(place) if place.pins.is_dir() else []
    asyncio.run(tunnel.detach(place))
    place.remove()
    if purge:
        shutil.rmtree(state.directory(target.name), ignore_errors=True)
    if as_json:
        tell_json({"name": target.name, "detached": len(found), "purged": purge})
    else:
        click.echo(f"{target.name}: detached from {len(found)} interface(s)")


def refuse_while_running(lock: os.PathLike[str], name: str) -> None:
    """Raise RefusedError when a daemon holds the lock."""
    import fcntl

    try:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return
    except BlockingIOError:
        raise RefusedError(f"{name!r} is still running; stop it first") from None
