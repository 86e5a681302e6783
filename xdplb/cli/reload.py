"""`xdplb reload`: the daemon takes up its own file."""

from __future__ import annotations

import json

import click

from xdplb.admin.client import Client
from xdplb.cli.apply import tell
from xdplb.cli.main import Target


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what it came to, as the API gives it.")
@click.pass_obj
def reload(target: Target, as_json: bool) -> None:
    """Have the daemon take up its file, all of it or nothing; SIGHUP does the same.

    \b
    Example:
      xdplb reload
    """
    from xdplb.cli.progress import wait

    client = Client(target.socket)
    done = wait(client, client.reload)
    for line in [json.dumps(done, indent=2)] if as_json else tell(done):
        click.echo(line)
