"""`xdplb audit`: who changed what, and when."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target

LOOK_S = 1.0


@click.command()
@click.option("--follow", is_flag=True, help="Go on with what is changed next, until Ctrl-C.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The last so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one change a line.")
@click.pass_obj
def audit(target: Target, follow: bool, limit: int, as_json: bool) -> None:
    """Show who changed what with the daemon, and what was refused to whom.

    \b
    Example:
      xdplb audit --limit 20
    """
    client, last = Client(target.socket), 0
    while True:
        for change in client.audit(last, limit):
            click.echo(json.dumps(change) if as_json else _line(change))
            last, limit = change["number"], 1000
        if not follow:
            return
        time.sleep(LOOK_S)


def _line(change: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(change["at"]).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    by = f"{change['comm']}[{change['pid']}]" if "comm" in change else change.get("address", "")
    content = f" {json.dumps(change['content'])}" if "content" in change else ""
    return f"{when} {change['who']} ({by}) {change['method']} {change['path']}{content} -> {change['status']}"
