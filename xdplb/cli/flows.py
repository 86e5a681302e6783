"""`xdplb flows`: the flows that the balancer remembers, because a change of their slot would move them."""

from __future__ import annotations

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.cli.shown import Shown, as_json, shown, tell_json


@click.group()
def flows() -> None:
    """Show or forget the flows that are remembered.

    Those are flows of slots that changed their backend not long ago.
    """


@flows.command()
@shown
@click.pass_obj
def status(target: Target) -> Shown:
    """Show how many each backend has, as the last sweep counted them.

    \b
    Example:
      xdplb flows status
      xdplb flows status --json
    """
    document = Client(target.socket).status()
    left = {
        f"{service['name']}/{backend['name']}": backend["flows_left"]
        for service in document["services"]
        for backend in service["backends"]
        if backend["flows_left"]
    }
    lines = [f"{name}  {number:,}" for name, number in left.items()]
    lines.append(f"{document['flows']['remembered']:,} flows remembered, room for {document['flows']['room']:,}")
    return Shown({**document["flows"], "backends": left}, lines)


@flows.command()
@as_json
@click.pass_obj
def clear(target: Target, as_json: bool) -> None:
    """Forget all of them.

    Without second chance, flows that live on another backend than their slot's break.

    \b
    Example:
      xdplb flows clear --json
    """
    answer = Client(target.socket).clear_flows()
    if as_json:
        tell_json(answer)
    else:
        click.echo(f"forgotten: {answer['forgotten']:,} flows")
