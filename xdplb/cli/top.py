"""`xdplb top`: the live screen."""

from __future__ import annotations

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target


@click.command()
@click.option("--interval", default=1.0, type=click.FloatRange(0.1, 60), show_default=True, help="Seconds.")
@click.option("--seconds", default=None, type=click.FloatRange(0.1), help="End after this long.")
@click.pass_obj
def top(target: Target, interval: float, seconds: float | None) -> None:
    """Watch services and backends live; `?` shows the keys.

    \b
    Example:
      xdplb top
      xdplb top --interval 0.5 --seconds 60
    """
    from xdplb.tui.screen import run

    run(Client(target.socket).status, interval, seconds)
