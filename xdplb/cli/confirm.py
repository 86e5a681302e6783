"""`xdplb confirm`: what `run --confirm` attached or `apply --confirm` took up stays."""

from __future__ import annotations

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.cli.shown import as_json, tell_json


@click.command()
@as_json
@click.pass_obj
def confirm(target: Target, as_json: bool) -> None:
    """Have stay what `run --confirm` attached or `apply --confirm` took up.

    \b
    Example:
      xdplb confirm --json
    """
    answer = Client(target.socket).confirm()
    if as_json:
        tell_json(answer)
    else:
        click.echo("confirmed: it stays" if answer["confirmed"] else "nothing waits for it: everything stays anyway")
