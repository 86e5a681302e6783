"""`xdplb plan`: what a changed file would do, before it does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.pass_obj
def plan(target: Target, config: Path) -> None:
    """Say what a restart with CONFIG would change; change nothing.

    \b
    Example:
      xdplb plan /etc/xdplb.toml
    """
    from xdplb.config import read_config  # other commands show plans, too, and need none of it

    read_config(config)
    show(Client(target.socket).plan(config.read_text("utf-8")))


def show(document: dict[str, Any]) -> None:
    """Print a plan."""
    for line in lines(document):
        click.echo(line)


def lines(document: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a plan: each service that changes, settings, and what is only supposed."""
    kept = [service for service in document["services"] if service["change"] == "kept"]
    for service in document["services"]:
        if service["change"] != "kept":
            yield f"service {service['name']}: {_service(service)}"
            yield from (f"  {b['name']} {b['change']}: {b['detail']}" for b in service["backends"])
    yield from document["settings"]
    if document["unknown"]:
        yield f"not known yet, counted as up: {', '.join(document['unknown'])}"
    if kept:
        yield f"as now: {', '.join(service['name'] for service in kept)}"
    yield f"{document['writes']:,} map entries would be written; nothing was changed"


def _service(service: dict[str, Any]) -> str:
    moved, size = service["slots_moved"], service["ring_size"]
    if service["change"] == "added":
        return f"added, with {size:,} slots"
    part = f"{moved:,} of {size:,} slots ({moved / size:.0%})".replace("%", " %")
    if service["change"] == "removed":
        return f"removed, with its {size:,} slots; {_flows(service['flows'])}"
    return f"{part} would move; {_flows(service['flows'])}"


def _flows(flows: dict[str, int | None]) -> str:
    """Say how many remembered flows belong to backends that lose slots, and how many of these are in transition."""
    if flows["remembered"] is None:
        return "remembered flows are not counted yet"
    transition = "not counted yet" if flows["in_transition"] is None else f"{flows['in_transition']:,}"
    return f"{flows['remembered']:,} remembered flows of those who lose them, {transition} in transition"
