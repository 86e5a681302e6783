"""`xdplb check-config`: read a configuration as `run` would, and change nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import click


@click.command("check-config")
@click.argument("config", type=click.Path(path_type=Path))
def check_config(config: Path) -> None:
    """Check CONFIG; say what it describes or what is wrong with it."""
    from xdplb.config import read_config

    checked = read_config(config)
    backends = sum(len(service.backends) for service in checked.services)
    click.echo(f"{config}: {len(checked.services)} services, {backends} backends, on {checked.balancer.interface}")
    if checked.balancer.interface not in {name for _, name in socket.if_nameindex()}:
        click.echo(f"note: this machine has no interface {checked.balancer.interface!r}", err=True)
