"""`xdplb check-config`: read a configuration as `run` would, and change nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import click


@click.command("check-config")
@click.argument("config", type=click.Path(path_type=Path))
def check_config(config: Path) -> None:
    """Check CONFIG; say what it describes or what is wrong with it."""
    from xdplb.admin.callers import unknown_users
    from xdplb.admin.certificates import make_context
    from xdplb.config import read_config

    checked = read_config(config)
    if checked.admin.listen:
        make_context(checked.admin)
    backends = sum(len(service.backends) for service in checked.services)
    click.echo(
        f"{config}: {len(checked.services)} services, {backends} backends, on {', '.join(checked.balancer.interfaces)}"
    )
    for name in checked.balancer.interfaces:
        if name not in {there for _, there in socket.if_nameindex()}:
            click.echo(f"note: this machine has no interface {name!r}", err=True)
    for problem in unknown_users(checked.admin):
        click.echo(f"note: {problem}", err=True)
