"""`xdplb check-config`: read a configuration as `run` would, and change nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from xdplb.cli.shown import Shown, shown


@click.command("check-config")
@click.argument("config", type=click.Path(path_type=Path))
@shown
def check_config(config: Path) -> Shown:
    """Check CONFIG; say what it describes or what is wrong with it.

    \b
    Example:
      xdplb check-config /etc/xdplb.toml
    """
    from xdplb.admin.callers import unknown_users
    from xdplb.admin.certificates import make_context
    from xdplb.config import read_config

    checked = read_config(config)
    if checked.admin.listen:
        make_context(checked.admin)
    for problem in unknown_users(checked.admin):
        click.echo(f"note: {problem}", err=True)
    there, wanted = {name for _, name in socket.if_nameindex()}, checked.balancer.interfaces
    missing = [name for name in wanted if name not in there]
    for name in missing:
        click.echo(f"note: this machine has no interface {name!r}", err=True)
    services, backends = len(checked.services), sum(len(service.backends) for service in checked.services)
    document = {"path": str(config), "services": services, "backends": backends, "interfaces": wanted}
    text = f"{config}: {services} services, {backends} backends, on {', '.join(wanted)}"
    return Shown({**document, "missing_interfaces": missing}, [text])
