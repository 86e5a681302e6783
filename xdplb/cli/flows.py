"""`xdplb flows`: the flows that the balancer remembers, because a change of their slot would move them."""

from __future__ import annotations

import json

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target


@click.group()
def flows() -> None:
    """Flows that are remembered: those of slots that changed their backend not long ago."""


@flows.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(target: Target, as_json: bool) -> None:
    """Show how many each backend has, as the last sweep counted them."""
    document = Client(target.socket).status()
    left = {
        f"{service['name']}/{backend['name']}": backend["flows_left"]
        for service in document["services"]
        for backend in service["backends"]
        if backend["flows_left"]
    }
    if as_json:
        click.echo(json.dumps({**document["flows"], "backends": left}))
        return
    for name, number in left.items():
        click.echo(f"{name}  {number:,}")
    click.echo(f"{document['flows']['remembered']:,} flows remembered, room for {document['flows']['room']:,}")


@flows.command()
@click.pass_obj
def clear(target: Target) -> None:
    """Forget all of them. Without second chance, flows that live on another backend than their slot's break."""
    answer = Client(target.socket).clear_flows()
    click.echo(f"forgotten: {answer['forgotten']:,} flows")
