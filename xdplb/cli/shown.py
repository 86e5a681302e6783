"""What reading commands have in common: text or `--json`, once, or with `--watch` again and again.

A command returns what it found; how that is printed is decided here, so that all of them do it alike.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple, ParamSpec

import click

from xdplb.errors import DaemonError

_Args = ParamSpec("_Args")

WATCH_S = 2.0
LEAST_S = 0.1  # between two looks: a look costs the daemon about a millisecond


class Shown(NamedTuple):
    """What a command found: the document that --json prints, the same in lines of text, and its exit status."""

    document: Any
    lines: Iterable[str]
    status: int = 0


class _Seconds(click.ParamType[float]):
    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number of seconds; give one, or put --watch last", param, ctx)
        if not LEAST_S <= seconds <= 86400:
            self.fail(f"{value} is out of range; give {LEAST_S} to 86400", param, ctx)
        return seconds


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_watch = click.option(
    "--watch",
    "every_s",
    metavar="[SECONDS]",
    is_flag=False,
    flag_value=str(WATCH_S),
    type=_Seconds(),
    help="Again every 2 seconds, or as many as are given, until Ctrl-C.",
)


def shown(find: Callable[_Args, Shown]) -> Callable[..., None]:
    """Give a reading command --json and --watch; the command returns what is to be shown."""

    @as_json
    @_watch
    @functools.wraps(find)
    def command(*args: Any, as_json: bool, every_s: float | None, **options: Any) -> None:
        look = functools.partial(find, *args, **options)
        if every_s is not None:
            _watch_on(look, as_json, every_s)
        found = look()
        if as_json:
            tell_json(found.document)
        else:
            _echo(found.lines)
        if found.status:
            raise click.exceptions.Exit(found.status)

    return command


def tell_json(document: Any) -> None:
    """Print a document for machines, and for people who read it."""
    click.echo(json.dumps(document, indent=2))


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _watch_on(look: Callable[[], Shown], as_json: bool, every_s: float) -> None:
    """Show it again and again; Ctrl-C is how one ends that, so it ends with 0."""
    on_terminal = sys.stdout.isatty() and not as_json
    show = _paint if on_terminal else (_echo_line if as_json else _echo_block)
    try:
        show(look())  # what is wrong from the start ends the command
        while True:
            time.sleep(every_s - time.monotonic() % every_s)
            show(_look_again(look) if on_terminal else look())
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


def _look_again(look: Callable[[], Shown]) -> Shown:
    """Look; a daemon that is being restarted is shown as such, and waited for."""
    try:
        return look()
    except DaemonError as error:
        return Shown(None, [click.style(str(error), fg="red")])


def _echo_line(found: Shown) -> None:
    click.echo(json.dumps(found.document))


def _echo_block(found: Shown) -> None:
    click.echo(f"-- {datetime.now().isoformat(' ', 'milliseconds')}")
    _echo(found.lines)


def _paint(found: Shown) -> None:
    """Write over what stands on the screen, in one go so that nothing flickers."""
    height = shutil.get_terminal_size().lines
    lines = [f"{datetime.now():%Y-%m-%d %H:%M:%S}  (Ctrl-C ends)", "", *"\n".join(found.lines).split("\n")]
    if len(lines) > height - 1:
        lines[height - 2 :] = [f"... {len(lines) - height + 2} more lines"]
    if click.get_current_context().color is False:
        lines = [click.unstyle(line) for line in lines]
    rows = "".join(f"{line}\x1b[K\n" for line in lines)
    # Home; long lines are cut and not wrapped (DECAWM); what is below the last line goes.
    sys.stdout.write(f"\x1b[H\x1b[?7l{rows}\x1b[?7h\x1b[J")
    sys.stdout.flush()
