"""`xdplb sources`: who sends most packets now."""

from __future__ import annotations

import json
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.cli.trace import filters


@click.command()
@filters
@click.option("--for", "for_s", default="3s", show_default=True, metavar="TIME", help="Look so long, at most 1m.")
@click.option("--count", default="20", show_default=True, metavar="N", help="Show at most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def sources(target: Target, /, as_json: bool, **asked: str | None) -> None:
    """Show which sources send most packets, to which service, and what becomes of them.

    Numbers are estimated when there are too many packets to look at each.

    \b
    Example:
      xdplb sources --for 1s
    """
    found = Client(target.socket).sources({name: text for name, text in asked.items() if text is not None})
    if as_json:
        click.echo(json.dumps(found))
        return
    for text in table(found):
        click.echo(text)


def table(found: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table."""
    lines = [f"{'PACKETS':>12}  {'SOURCE':<39}  {'SERVICE':<16}  REASON"]
    for row in found:
        reason = row["reason"] or "forwarded"
        lines.append(f"{row['packets']:>12,}  {row['source']:<39}  {row['service'] or '-':<16}  {reason}")
    return lines
