"""Waiting for the last flows of backends that leave, with a line whenever there are fewer."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.bar import Bar
from xdplb.errors import ConfigError

LOOK_S = 0.25
LINE_S = 2.0  # between two lines of one backend
COUNTED_S = 3.0  # how long a first count may take: flows are counted once a second

Entry = dict[str, Any]


def flows_text(entry: Entry) -> str:
    """Say how many flows a backend has left."""
    if entry["gone"]:
        return "no flow left"
    if entry["flows_left"] is None:
        return "its flows are not counted yet"
    if entry["learning"]:
        return f"{entry['flows_left']:,} flows left of those seen so far"
    return f"{entry['flows_left']:,} flows left"


def wait_counted(client: Client, entries: list[Entry]) -> list[Entry]:
    """Return the backends with their flows counted, or as they are after a while."""
    until = time.monotonic() + COUNTED_S
    while any(e["flows_left"] is None and not e["gone"] for e in entries) and time.monotonic() < until:
        time.sleep(LOOK_S)
        entries = [entry for entry in _look(client, entries) if entry is not None]
    return entries


def wait_gone(client: Client, entries: list[Entry], aside: bool = False) -> None:
    """Return when the last flow of each is gone, it was removed, or its deadline has passed.

    `aside`: what is told goes to standard error, since standard output is for a document.
    Ends the command with status 1 when somebody takes the drain back, with 130 on Ctrl-C, which changes nothing.
    """
    told: dict[tuple[str, str], tuple[float, str]] = {}
    bar = Bar()
    try:
        while entries:
            now = _look(client, entries)
            bar.clear()
            pairs = zip(entries, now, strict=True)
            entries = [new for old, new in pairs if not _over(old, new, aside) and new is not None]
            if not (bar.on and sys.stdout.isatty()):
                for line in _news(told, entries):
                    click.echo(line, err=aside)
            if entries:
                bar.show(sum(entry["flows_left"] or 0 for entry in entries), "; ".join(map(_line, entries)))
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        bar.clear()
        for entry in entries:
            goes_on = f"{_title(entry)} goes on ({entry['reason']})"
            click.echo(f"{goes_on}; `xdplb backend undrain {entry['name']}` takes it back", err=True)
        raise click.exceptions.Exit(130) from None


def _look(client: Client, entries: list[Entry]) -> list[Entry | None]:
    """Return these backends as they are now, None for one that was removed."""
    found: dict[tuple[str, str], Entry] = {}
    for name in {entry["name"] for entry in entries}:
        try:
            found |= {(e["service"], e["name"]): e for e in client.departures(name, None)}
        except ConfigError as error:
            if error.key != "backend":
                raise
    return [found.get((entry["service"], entry["name"])) for entry in entries]


def _over(old: Entry, new: Entry | None, aside: bool) -> bool:
    """Tell whether there is nothing to wait for any more, and say why."""
    if new is None:
        click.echo(f"{_title(old)} is removed", err=aside)
        return True
    if not new["leaving"]:
        click.echo(f"{_title(new)} does not drain any more: somebody took it back", err=True)
        raise click.exceptions.Exit(1)
    if new["state"] != "draining" and old["state"] == "draining":
        click.echo(f"{_title(new)} is {new['state']} ({new['reason']})", err=aside)
    if new["removing"]:  # its end is that it is no more
        return False
    if new["gone"]:
        click.echo(f"{_title(new)}: its last flow is gone", err=aside)
    elif new["passed"]:
        click.echo(f"{_title(new)}: its deadline has passed; what was left of its flows breaks", err=aside)
    return bool(new["gone"] or new["passed"])


def _news(told: dict[tuple[str, str], tuple[float, str]], entries: list[Entry]) -> Iterator[str]:
    """Yield a line for each backend of which something else is to be told, and not too often."""
    for entry in entries:
        key, text = (entry["service"], entry["name"]), flows_text(entry)
        at, last = told.get(key, (0.0, ""))
        if text != last and time.monotonic() - at >= LINE_S:
            told[key] = time.monotonic(), text
            yield _line(entry)


def _line(entry: Entry) -> str:
    return f"{_title(entry)}: {flows_text(entry)}"


def _title(entry: Entry) -> str:
    return f"{entry['service']}/{entry['name']}"
