"""`xdplb confirm`: what `run --confirm` attached or `apply --confirm` took up stays."""

from __future__ import annotations

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target


@click.command()
@click.pass_obj
def confirm(target: Target) -> None:
    """Have stay what `run --confirm` attached or `apply --confirm` took up.

    \b
    Example:
      xdplb confirm
    """
    waited = Client(target.socket).confirm()["confirmed"]
    click.echo("confirmed: it stays" if waited else "nothing waits for it: everything stays anyway")
