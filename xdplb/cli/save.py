"""`xdplb save`: write run-time changes into the daemon's file."""

from __future__ import annotations

import os
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.errors import ConfigError, DaemonError

if TYPE_CHECKING:
    from xdplb.desired import Overrides
    from xdplb.editing import Edited
    from xdplb.model import Config


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be written; write nothing.")
@click.pass_obj
def save(target: Target, dry_run: bool) -> None:
    """Write what was changed at run time into the daemon's file; comments and layout stay.

    Backends that drain or are being removed have no place in it: that stays a run-time change.

    \b
    Example:
      xdplb save --dry-run
    """
    client = Client(target.socket)
    running = client.config()
    path, text = Path(running["path"]), _read_same(running)
    edited = _edit(running, path, text)
    for line in unified_diff(text.splitlines(), edited.text.splitlines(), str(path), "saved", lineterm=""):
        click.echo(line)
    for phrase in edited.left:
        click.echo(f"stays a run-time change: {phrase}")
    if not edited.written:
        click.echo("nothing to write")
    elif dry_run:
        click.echo(f"{len(edited.written)} changes would be written; nothing was")
    else:
        _replace(path, text, edited.text)
        client.reload()
        click.echo(f"{len(edited.written)} changes are written to {path}")


def _read_same(running: dict[str, Any]) -> str:
    """Return the file's text, which is what is in force. Raises ConfigError."""
    path = running["path"]
    if running["unconfirmed"]:
        raise ConfigError(path, "what was applied is not confirmed yet", "run `xdplb confirm` first")
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(path, f"cannot be read ({error})", "run this as its owner") from None
    if text != running["text"]:
        if running["applied_from"]:
            raise ConfigError(path, f"{running['applied_from']} is in force", f"copy it to {path} first")
        fix = "look with `xdplb diff`, take it up with `xdplb reload`, then save"
        raise ConfigError(path, "has changed since the daemon took it up", fix)
    return text


def _edit(running: dict[str, Any], path: Path, text: str) -> Edited:
    """Return the text with the changes in it, which means the same as the old one with them. Raises DaemonError."""
    from xdplb.config import parse_config
    from xdplb.editing import write_back
    from xdplb.guard import read_files
    from xdplb.state import overrides_from_json

    before, overrides = parse_config(text), overrides_from_json(running["overrides"])
    guard = replace(before.guard, block=(), allow=())
    files = read_files(guard, path.parent) if overrides.prefixes else read_files(type(guard)(), path.parent)
    edited = write_back(text, overrides, {"block": files.blocked, "allow": files.allowed})
    if not _same((before, overrides), parse_config(edited.text), path):
        raise DaemonError(f"{path} is written in a way that these changes cannot be put into; edit it by hand")
    return edited


def _same(before: tuple[Config, Overrides], after: Config, path: Path) -> bool:
    """Whether a file with less changes beside it means what it meant with all of them."""
    from xdplb.guard import read_files, read_lists
    from xdplb.operators import forget_said

    config, overrides = before
    said = read_files(after.guard, path.parent).said(overrides.prefixes)
    rest = forget_said(after, overrides, said)
    lists = (read_lists(c.guard, o.prefixes, path.parent) for c, o in ((config, overrides), (after, rest)))
    services = ([o.apply(s) for s in c.services] for c, o in ((config, overrides), (after, rest)))
    return next(lists) == next(lists) and next(services) == next(services)


def _replace(path: Path, before: str, text: str) -> None:
    """Put a new file in the old one's place, of the same owner and mode. Raises DaemonError, and then nothing was."""
    path = path.resolve()  # a link stays one
    beside = path.with_name(f".{path.name}.xdplb-save")
    try:
        there = path.stat()
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), there.st_uid, there.st_gid)
            os.fchmod(file.fileno(), there.st_mode & 0o7777)
            os.fsync(file.fileno())
        if path.read_text("utf-8") != before:
            raise DaemonError(f"{path} was changed by somebody else at this moment; nothing was written, try again")
        beside.rename(path)
    except OSError as error:
        raise DaemonError(f"{path} cannot be written ({error.strerror}); run this as its owner") from None
    finally:
        beside.unlink(missing_ok=True)
