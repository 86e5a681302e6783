"""`xdplb apply`: take up a file, after saying what that does; for good, or until it is confirmed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.detailed import Detailed
from xdplb.cli.main import Target
from xdplb.cli.plan import ask as ask_plan
from xdplb.cli.plan import changes, lines


@click.command(cls=Detailed)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--confirm", metavar="DURATION", help="Go back unless `xdplb confirm` comes within it: 30s, 2m.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--allow-down", metavar="SERVICE", multiple=True, help="It may be left without a backend that is up.")
@click.option("--force", is_flag=True, help="Any service may.")
@click.option("--json", "as_json", is_flag=True, help="Print what it came to, as the API gives it; do not ask.")
@click.pass_obj
def apply(
    target: Target,
    config: Path,
    confirm: str | None,
    yes: bool,
    allow_down: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> int:
    """Show what CONFIG changes, and take it up, all of it or nothing.

    A restart takes the daemon's own file: where CONFIG is another one, copy it there to keep it.
    Exit status: 0 CONFIG is in force, 1 it is not, and everything is as before.

    \b
    Example:
      xdplb apply /etc/xdplb.toml --yes
    """
    from xdplb.cli.progress import wait
    from xdplb.cli.run import parse_confirm
    from xdplb.config import read_file

    client, confirm_s = Client(target.socket), parse_confirm(confirm, False)
    text, path = read_file(config)[0], config.absolute()
    if not as_json:
        document = wait(client, lambda: ask_plan(client, config))
        for line in lines(document, end="to write"):
            click.echo(line)
        if changes(document) and not yes and sys.stdin.isatty():
            click.confirm("apply this?", abort=True)
    allowed = ("*",) if force else allow_down
    done = wait(client, lambda: client.apply(text, path, confirm_s, allowed))
    for line in [json.dumps(done, indent=2)] if as_json else tell(done):
        click.echo(line)
    return 0


def tell(done: dict[str, Any]) -> Iterator[str]:
    """Yield what taking up a configuration came to."""
    moved = ", ".join(f"{name} {n:,}" for name, n in done["slots_moved"].items() if n) or "none"
    yield f"taken up in {done['took_s']:.2f} s: {done['writes']:,} map entries written; slots moved: {moved}"
    if done["changes"]:
        yield f"changed since the file: {'; '.join(done['changes'])}"
    yield from (f"warning: {warning}" for warning in done["warnings"])
    if waiting := done["unconfirmed"]:
        yield f"unconfirmed: {waiting['then']} in {waiting['left_s']:.0f} s unless `xdplb confirm`"
