"""`xdplb events`: what happened to backends, and why."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target


@click.command()
@click.option("--follow", is_flag=True, help="Go on with what happens next, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one event a line.")
@click.pass_obj
def events(target: Target, follow: bool, as_json: bool) -> None:
    """Show what happened since the daemon's start: to backends and why, and what was changed by whom.

    \b
    Example:
      xdplb events
      xdplb events --follow --json
    """
    for event in Client(target.socket).events(follow):
        click.echo(json.dumps(event) if as_json else _line(event))


def _line(event: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(event["at"]).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    if event["kind"] != "backend":
        about = f"{event['service']}/{event['backend']} " if event["backend"] else ""
        return f"{when} {about}{event['kind']}: {event['cause']}" + (f" (by {event['who']})" if event["who"] else "")
    state = f"is {event['state']}: {event['cause']}" if event["state"] else "is gone"
    return f"{when} {event['service']}/{event['backend']} {state}"
