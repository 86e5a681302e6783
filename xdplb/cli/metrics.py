"""`xdplb metrics`: what Prometheus would scrape."""

from __future__ import annotations

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target


@click.command()
@click.pass_obj
def metrics(target: Target) -> None:
    """Print all metrics in Prometheus' text format.

    \b
    Example:
      xdplb metrics
    """
    click.echo(Client(target.socket).metrics(), nl=False)
