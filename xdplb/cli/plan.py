"""`xdplb plan`: what a changed file would do, before it does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.detailed import CHANGES, Detailed
from xdplb.cli.main import Target

MEASURE_S = 0.5  # for so long it is measured what backends are sent


@click.command(cls=Detailed)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the plan as the API gives it.")
@click.pass_obj
def plan(target: Target, config: Path, as_json: bool) -> int:
    """Say what CONFIG would change if it were applied; change nothing.

    Exit status: 0 nothing would change, 2 something would, 1 for every error.

    \b
    Example:
      xdplb plan /etc/xdplb.toml
    """
    document = ask(Client(target.socket), config)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        show(document)
    return CHANGES if changes(document) else 0


def ask(client: Client, path: Path) -> dict[str, Any]:
    """Return the plan of a file. Raises XdplbError."""
    from xdplb.config import read_file  # other commands show plans, too, and need none of it

    return client.plan(read_file(path)[0], path.absolute(), MEASURE_S)


def changes(document: dict[str, Any]) -> bool:
    """Whether anything would change."""
    services = any(service["change"] != "kept" for service in document["services"])
    program = document["program"]["recompiled"] or document["program"]["tables_made_anew"]
    return bool(services or program or document["settings"] or document["differences"] or document["writes"])


def show(document: dict[str, Any]) -> None:
    """Print a plan."""
    for line in lines(document):
        click.echo(line)


def lines(document: dict[str, Any], end: str = "would be written; nothing was changed") -> Iterator[str]:
    """Yield the lines of a plan: each service that changes, program and settings, warnings, what is only supposed."""
    kept = [service for service in document["services"] if service["change"] == "kept"]
    for service in document["services"]:
        if service["change"] != "kept":
            yield f"service {service['name']}: {_service(service)}"
            yield from _rates(service)
            yield from (f"  {b['name']} {b['change']}: {b['detail']}" for b in service["backends"])
    yield from document["settings"]
    yield from _program(document["program"], document["memory"])
    if document["unknown"]:
        yield f"not known yet, counted as up: {', '.join(document['unknown'])}"
    yield from (f"warning: {warning}" for warning in document["warnings"])
    for name, why in document["down"].items():
        yield f"warning: service {name}: no backend would get new flows: {why}"
    if kept:
        yield f"as now: {', '.join(service['name'] for service in kept)}"
    yield f"{document['writes']:,} map entries {end}"


def _service(service: dict[str, Any]) -> str:
    moved, size = service["slots_moved"], service["ring_size"]
    if service["change"] == "added":
        return f"added, with {size:,} slots"
    part = f"{moved:,} of {size:,} slots ({moved / size:.0%})".replace("%", " %")
    if service["change"] == "removed":
        return f"removed, with its {size:,} slots; {_flows(service['flows'])}"
    if not moved and service["share"]:
        return f"{service['share']:.0%} of all flows get another backend; {_flows(service['flows'])}".replace("%", " %")
    return f"{part} would move; {_flows(service['flows'])}"


def _flows(flows: dict[str, Any]) -> str:
    """Say how many remembered flows belong to backends that lose slots, and how many of these are in transition."""
    if flows["remembered"] is None:
        return "remembered flows are not counted yet"
    transition = "not counted yet" if flows["in_transition"] is None else f"{flows['in_transition']:,}"
    return f"{flows['remembered']:,} remembered flows of those who lose them, {transition} in transition"


def _rates(service: dict[str, Any]) -> Iterator[str]:
    """Say what is measured of the slots that move; in settled ones, no flow is counted (docs/consistency.md)."""
    connections, packets = (service["flows"][name] for name in ("connections_per_s", "packets_per_s"))
    if service["change"] == "added" or not (service["slots_moved"] or service["share"]):
        return
    if packets is not None:
        measured = f"{connections:,.0f} new connections and {packets:,.0f} packets a second (measured)"
        yield f"  what would move gets {measured}; how many flows that is, is not counted in settled slots"
    if service["change"] == "changed":
        yield f"  flows of backends that stay {'go on where they are' if service['stay'] else 'break'}"


def _program(program: dict[str, Any], memory: dict[str, Any]) -> Iterator[str]:
    if program["recompiled"]:
        parts = [f"with {', '.join(program['compiled_in'])}"] if program["compiled_in"] else []
        parts += [f"without {', '.join(program['compiled_out'])}"] if program["compiled_out"] else []
        yield " ".join(["program: compiled anew", *parts])
    if program["tables_made_anew"]:
        before, after = memory["before"] / 2**20, memory["after"] / 2**20
        yield f"tables: made anew, {before:.1f} MiB before and {after:.1f} MiB after"
