"""`xdplb confirm`: what `run --confirm` attached stays."""

from __future__ import annotations

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.cli.shown import as_json, tell_json


@click.command()
@as_json
@click.pass_obj
def confirm(target: Target, as_json: bool) -> None:
    """Have what `run --confirm` attached stay.

    \b
    Example:
      xdplb confirm --json
    """
    answer = Client(target.socket).confirm()
    if as_json:
        tell_json(answer)
    elif answer["confirmed"]:
        click.echo("confirmed: what is attached stays")
    else:
        click.echo("nothing waits for it: what is attached stays anyway")
