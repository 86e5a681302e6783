"""`xdplb top`: the live screen."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.errors import ConfigError

_path = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--interval", default=1.0, type=click.FloatRange(0.1, 60), show_default=True, help="Seconds.")
@click.option("--seconds", default=None, type=click.FloatRange(0.1), help="End after this long.")
@click.option("--once", is_flag=True, help="Print one frame and end; needs no terminal.")
@click.option("--size", metavar="COLUMNSxLINES", help="Of that frame, as 200x60; the terminal's if not given.")
@click.option("--record", type=_path, metavar="FILE", help="Write what the daemon says to a new file.")
@click.option("--replay", type=_path, metavar="FILE", help="Show what was recorded; no daemon is needed.")
@click.pass_obj
def top(
    target: Target,
    interval: float,
    seconds: float | None,
    once: bool,
    size: str | None,
    record: Path | None,
    replay: Path | None,
) -> None:
    """Watch services, backends and events live, drain and weigh backends; `?` shows the keys.

    \b
    Example:
      xdplb top --once --size 120x40
    """
    from xdplb.tui import recording, screen

    if record and (once or replay):
        raise click.UsageError("--record goes with the live screen: leave --once and --replay away")
    if size and not once:
        raise click.UsageError("--size goes with --once; the live screen has its terminal's")
    if replay:
        film = recording.Recording(replay)
        return screen.once_recorded(film, _size(size)) if once else screen.replay(film, seconds)
    gc.set_threshold(100_000, 50, 100)  # an answer about 10,000 backends is 100,000 objects, and none is in a circle
    client = Client(target.socket)
    return screen.once(client, interval, _size(size)) if once else screen.run(client, interval, seconds, record)


def _size(text: str | None) -> tuple[int, int] | None:
    """Return width and height. Raises ConfigError."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text, re.ASCII)
    if found is None or not all(1 <= int(part) <= 1000 for part in found.groups()):
        raise ConfigError("--size", f"{text!r} is no size", "give columns and lines up to 1000, as 80x24")
    return int(found[1]), int(found[2])
