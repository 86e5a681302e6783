"""`xdplb doctor`: what is wrong with this box, why it matters, and what mends it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdplb.cli.main import Target
from xdplb.errors import RefusedError

if TYPE_CHECKING:
    from xdplb.doctor.facts import Box
    from xdplb.doctor.finding import Finding

COLORS = {"error": "red", "warning": "yellow", "notice": "cyan"}


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(target: Target, config: Path | None, as_json: bool) -> None:
    """Check this box, and print what is wrong, why it matters and what mends it.

    CONFIG: by default the file that the daemon runs with, or /etc/xdplb.toml. Nothing is changed.

    Exit status 0: nothing, or notices only; 1: warnings; 2: wrong usage; 3: errors.

    \b
    Example:
      xdplb doctor --json
    """
    from xdplb.doctor.finding import exit_status
    from xdplb.doctor.judge import judge
    from xdplb.doctor.look import Look

    if os.geteuid() != 0:
        raise RefusedError("doctor needs root: it reads programs and drivers, and asks next hops")
    box = Look(target.given, config).run()
    findings = judge(box)
    if as_json:
        click.echo(json.dumps(document(box, findings), indent=2))
    else:
        _show(box, findings)
    sys.exit(exit_status(findings))


def document(box: Box, findings: Sequence[Finding]) -> dict[str, object]:
    """Return everything as JSON has it."""
    return {
        "name": box.name,
        "config": box.path,
        "findings": [
            {
                "id": finding.check,
                "severity": str(finding.severity),
                "seen": finding.seen,
                "why": finding.why,
                "fixes": list(finding.fixes),
                "where": finding.where,
            }
            for finding in findings
        ],
        "unchecked": [{"what": item.what, "why": item.why} for item in box.unchecked],
    }


def _show(box: Box, findings: Sequence[Finding]) -> None:
    """Print a line for each finding first: what matters must not be below the screen's end."""
    click.echo(_summary(findings) + f" ({box.name!r}, {box.path})")
    for finding in findings:
        click.echo(f"  {_word(finding)}  {finding.check}: {finding.seen}")
    for finding in findings:
        click.echo(f"\n{_word(finding)}  {finding.check}: {finding.seen}")
        click.echo(f"  why: {finding.why}")
        where = f"on {finding.where}" if finding.where else "fix"
        for fix in finding.fixes:
            click.echo(f"  {where}: {click.style(fix, bold=True)}")
    if box.unchecked:
        click.echo("\nnot checked:")
    for item in box.unchecked:
        click.echo(f"  {item.what}: {item.why}")


def _word(finding: Finding) -> str:
    word = str(finding.severity)
    return click.style(f"{word:<7}", fg=COLORS[word], bold=True)


def _summary(findings: Sequence[Finding]) -> str:
    counts = {word: sum(str(finding.severity) == word for finding in findings) for word in COLORS}
    parts = [f"{n} {word}{'s' if n > 1 else ''}" for word, n in counts.items() if n]
    return ", ".join(parts) or "nothing is wrong"
