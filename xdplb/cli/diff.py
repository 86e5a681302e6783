"""`xdplb diff`: the file on disk, the configuration in force, and what was changed at run time, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.detailed import CHANGES, Detailed
from xdplb.cli.main import Target
from xdplb.errors import XdplbError


@click.command(cls=Detailed)
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@click.pass_obj
def diff(target: Target, as_json: bool) -> int:
    """Show how the file on disk, what is in force, and run-time changes differ.

    Exit status: 0 they do not, 2 they do, 1 for every error.

    \b
    Example:
      xdplb diff
    """
    found = compare(Client(target.socket).config())
    for line in [json.dumps(found, indent=2)] if as_json else lines(found):
        click.echo(line)
    return CHANGES if found["text"] or found["changes"] else 0


def compare(running: dict[str, Any]) -> dict[str, Any]:
    """Return what the file has that is not in force, as phrases and as a diff, and the run-time changes."""
    path, text, error = Path(running["path"]), "", None
    phrases: list[str] = []
    try:
        text = path.read_text("utf-8")
        phrases = _phrases(running["text"], text)
    except OSError as problem:
        error = f"{path} cannot be read ({problem.strerror})"
    except ValueError:
        error = f"{path} is not text in UTF-8"
    except XdplbError as problem:
        error = f"{path} is wrong, so a reload or restart would be refused: {problem}"
    names = (running["applied_from"] or "in force", str(path))
    difference = list(unified_diff(running["text"].splitlines(), text.splitlines(), *names, lineterm=""))
    return {**{name: running[name] for name in ("path", "applied_from", "changes")}, "phrases": phrases} | {
        "error": error,
        "text": difference,
    }


def _phrases(before: str, after: str) -> list[str]:
    """Return how two texts of configurations differ in what they say. Raises ConfigError for the second one."""
    from xdplb.comparison import compare_backends, compare_settings
    from xdplb.config import parse_config

    is_now, would_be = parse_config(before), parse_config(after)
    return compare_backends(is_now, would_be) + compare_settings(is_now, would_be)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the differences for people."""
    if found["applied_from"]:
        yield f"in force: {found['applied_from']}; a restart takes {found['path']}"
    if found["error"]:
        yield found["error"]
    if found["text"]:
        yield f"{found['path']} differs from what is in force; `xdplb reload` would take it up:"
        yield from (f"  {phrase}" for phrase in found["phrases"] or ["nothing but its layout and comments"])
        yield from found["text"]
    if found["changes"]:
        yield "changed at run time, and not in the file:"
        yield from (f"  {change}" for change in found["changes"])
    if not (found["text"] or found["changes"] or found["error"]):
        yield f"{found['path']} says all that is in force"
