"""`xdplb check`: probe a backend now, and say what happened on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli import names
from xdplb.cli.main import Target
from xdplb.cli.shown import Shown, shown


@click.command()
@click.argument("backend", shell_complete=names.backends)
@click.option(
    "--service",
    help="Only as this service asks; otherwise as each one does that has it.",
    shell_complete=names.services,
)
@click.option("--verbose", is_flag=True, help="Show each step with its time and bytes.")
@shown
@click.pass_obj
def check(target: Target, backend: str, service: str | None, verbose: bool) -> Shown:
    """Run each check of BACKEND once, now.

    What is believed of it does not change by that. Exit status 0: all passed; 1: some failed.

    \b
    Example:
      xdplb check b1
      xdplb check b1 --service web --verbose
    """
    results = Client(target.socket).check(backend, service)
    lines = [line for result in results for line in _lines(result, verbose)]
    return Shown(results, lines, 0 if all(result["passed"] for result in results) else 1)


def _lines(result: dict[str, Any], verbose: bool) -> Iterator[str]:
    word = click.style("passed", fg="green") if result["passed"] else click.style("failed", fg="red")
    way = "through the tunnel" if result["through"] == "tunnel" else "directly"
    yield f"{result['service']}/{result['backend']} {result['kind']} to {result['to']} {way}: {word}"
    for step in result["steps"] if verbose else []:
        moved = [f"{name} {step[name]:,} bytes" for name in ("sent", "received") if step[name]]
        yield f"  {step['at_ms']:10.3f} ms  {'; '.join([step['what'], *moved])}"
    if not verbose:
        yield f"  {result['cause']}"
    if result["warning"]:
        yield f"  warning: {result['warning']}"
