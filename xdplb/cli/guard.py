"""`xdplb guard`: who is blocked and who is allowed, changed while traffic flows."""

from __future__ import annotations

from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.cli.shown import Shown, as_json, shown, tell_json


@click.group()
def guard() -> None:
    """Block and allow sources of packets to VIPs.

    The longest prefix decides, and `allow` wins over `block`. Changes outlive a restart and are shown by `xdplb status`
    as differences from the file.
    """


@guard.command()
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@as_json
@click.pass_obj
def block(target: Target, prefixes: tuple[str, ...], as_json: bool) -> None:
    """Drop what comes from these prefixes.

    \b
    Example:
      xdplb guard block 203.0.113.0/24 2001:db8:bad::/48
    """
    _tell("blocked", Client(target.socket).change_lists(dict.fromkeys(prefixes, "block")), as_json)


@guard.command()
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@as_json
@click.pass_obj
def allow(target: Target, prefixes: tuple[str, ...], as_json: bool) -> None:
    """Let these prefixes through, whatever is blocked around them, and free of limits.

    \b
    Example:
      xdplb guard allow 203.0.113.7
    """
    _tell("allowed", Client(target.socket).change_lists(dict.fromkeys(prefixes, "allow")), as_json)


@guard.command()
@click.argument("prefixes", metavar="PREFIX...", nargs=-1, required=True)
@as_json
@click.pass_obj
def forget(target: Target, prefixes: tuple[str, ...], as_json: bool) -> None:
    """Take these prefixes off both lists.

    \b
    Example:
      xdplb guard forget 203.0.113.0/24 --json
    """
    _tell("off both lists", Client(target.socket).change_lists(dict.fromkeys(prefixes)), as_json)


@guard.command()
@click.argument("address")
@shown
@click.pass_obj
def find(target: Target, address: str) -> Shown:
    """Say what the lists say of ADDRESS, and by which prefix.

    \b
    Example:
      xdplb guard find 203.0.113.7
    """
    found = Client(target.socket).look_up(address)
    if found["prefix"] is None:
        return Shown(found, [f"{found['address']} is on no list"])
    said = {"block": "blocked", "allow": "allowed"}[found["verdict"]]
    return Shown(found, [f"{found['address']} is {said} by {found['prefix']}"])


def _tell(what: str, answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        tell_json(answer)
        return
    for prefix in answer["changed"]:
        click.echo(f"{prefix} {what}")
    click.echo(f"in {answer['took_ms']} ms")
