"""`xdplb confirm`: what `run --confirm` attached stays."""

from __future__ import annotations

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target


@click.command()
@click.pass_obj
def confirm(target: Target) -> None:
    """Have what `run --confirm` attached stay."""
    waited = Client(target.socket).confirm()["confirmed"]
    click.echo("confirmed: what is attached stays" if waited else "nothing waits for it: what is attached stays anyway")
