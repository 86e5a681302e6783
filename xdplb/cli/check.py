"""`xdplb check`: probe a backend now, and say what happened on the way."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target


@click.command()
@click.argument("backend")
@click.option("--service", help="Only as this service asks; otherwise as each one does that has it.")
@click.option("--verbose", is_flag=True, help="Show each step with its time and bytes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(target: Target, backend: str, service: str | None, verbose: bool, as_json: bool) -> None:
    """Run each check of BACKEND once, now; what is believed of it does not change by that.

    Exit status 0: all passed; 1: some failed.
    """
    results = Client(target.socket).check(backend, service)
    if as_json:
        click.echo(json.dumps(results, indent=2))
    for result in [] if as_json else results:
        _show(result, verbose)
    if not all(result["passed"] for result in results):
        sys.exit(1)


def _show(result: dict[str, Any], verbose: bool) -> None:
    word = click.style("passed", fg="green") if result["passed"] else click.style("failed", fg="red")
    way = "through the tunnel" if result["through"] == "tunnel" else "directly"
    click.echo(f"{result['service']}/{result['backend']} {result['kind']} to {result['to']} {way}: {word}")
    for step in result["steps"] if verbose else []:
        moved = [f"{name} {step[name]:,} bytes" for name in ("sent", "received") if step[name]]
        click.echo(f"  {step['at_ms']:10.3f} ms  {'; '.join([step['what'], *moved])}")
    if not verbose:
        click.echo(f"  {result['cause']}")
    if result["warning"]:
        click.echo(f"  warning: {result['warning']}")
