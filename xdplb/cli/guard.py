"""`xdplb guard`: who is blocked and who is allowed, changed while traffic flows."""

from __future__ import annotations

import json
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target


@click.group()
def guard() -> None:
    """Block and allow sources of packets to VIPs.

    The longest prefix decides, and `allow` wins over `block`. Changes outlive a restart and are shown by `xdplb status`
    as differences from the file.
    """


@guard.command()
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@click.pass_obj
def block(target: Target, prefixes: tuple[str, ...]) -> None:
    """Drop what comes from these prefixes."""
    _tell("blocked", Client(target.socket).change_lists(dict.fromkeys(prefixes, "block")))


@guard.command()
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@click.pass_obj
def allow(target: Target, prefixes: tuple[str, ...]) -> None:
    """Let these prefixes through, whatever is blocked around them, and free of limits."""
    _tell("allowed", Client(target.socket).change_lists(dict.fromkeys(prefixes, "allow")))


@guard.command()
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@click.pass_obj
def forget(target: Target, prefixes: tuple[str, ...]) -> None:
    """Take these prefixes off both lists."""
    _tell("off both lists", Client(target.socket).change_lists(dict.fromkeys(prefixes)))


@guard.command()
@click.argument("address")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def find(target: Target, address: str, as_json: bool) -> None:
    """Say what the lists say of ADDRESS, and by which prefix."""
    found = Client(target.socket).look_up(address)
    if as_json:
        click.echo(json.dumps(found))
    elif found["prefix"] is None:
        click.echo(f"{found['address']} is on no list")
    else:
        said = {"block": "blocked", "allow": "allowed"}[found["verdict"]]
        click.echo(f"{found['address']} is {said} by {found['prefix']}")


def _tell(what: str, answer: dict[str, Any]) -> None:
    for prefix in answer["changed"]:
        click.echo(f"{prefix} {what}")
    click.echo(f"in {answer['took_ms']} ms")
