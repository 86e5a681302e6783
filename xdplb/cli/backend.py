"""`xdplb backend`: change which backends there are, and whether they get new flows."""

from __future__ import annotations

from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.model import DEFAULT_WEIGHT

_only = click.option("--service", help="Only in this service; otherwise wherever it is.")


@click.group()
def backend() -> None:
    """Add, remove, drain and undrain backends while traffic flows.

    Such changes outlive a restart and are shown by `xdplb status` as differences from the file.
    """


@backend.command()
@click.argument("service")
@click.argument("address")
@click.option("--backend-name", help="Its name; the address if not given.")
@click.option("--weight", default=DEFAULT_WEIGHT, show_default=True, help="Its share of new flows; 0: none.")
@click.pass_obj
def add(target: Target, service: str, address: str, backend_name: str | None, weight: int) -> None:
    """Add the server at ADDRESS to SERVICE."""
    _tell("added", Client(target.socket).add_backend(service, address, backend_name, weight))


@backend.command()
@click.argument("name", metavar="BACKEND")
@_only
@click.pass_obj
def remove(target: Target, name: str, service: str | None) -> None:
    """Remove BACKEND; flows that it serves break. Drain it first."""
    _tell("removed", Client(target.socket).remove_backend(name, service))


@backend.command()
@click.argument("name", metavar="BACKEND")
@_only
@click.pass_obj
def drain(target: Target, name: str, service: str | None) -> None:
    """Send no new flows to BACKEND."""
    _tell("draining", Client(target.socket).drain_backend(name, service))


@backend.command()
@click.argument("name", metavar="BACKEND")
@_only
@click.pass_obj
def undrain(target: Target, name: str, service: str | None) -> None:
    """Take the drain of BACKEND back."""
    _tell("undrained", Client(target.socket).undrain_backend(name, service))


def _tell(what: str, answer: dict[str, Any]) -> None:
    for entry in answer["backends"]:
        state = "" if entry["state"] == "removed" else f", now {entry['state']} ({entry['reason']})"
        click.echo(f"{entry['service']}/{entry['name']} {what}{state}")
    click.echo(f"{answer['writes']} map entries written in {answer['took_ms']} ms")
