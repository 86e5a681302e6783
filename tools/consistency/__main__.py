"""Every scenario at full size, and a table: `make consistency`. The exit status is 0 only if nothing broke."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import click

from tools.consistency.judge import Judgement
from tools.consistency.scenarios import SCENARIOS
from tools.consistency.trial import FULL, Scenario, Size, trial
from xdplb.errors import XdplbError

HEAD = (
    "scenario",
    "opened",
    "answers",
    "broken",
    "changed",
    "stalled",
    "slow",
    "lost",
    "p99 ms",
    "max ms",
    "cpu %",
    "took s",
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", multiple=True, metavar="WORDS", help="Scenarios with this in their names; repeatable.")
@click.option("--held", default=FULL.held, show_default=True, type=click.IntRange(1), help="Flows that live long.")
@click.option("--new", "new_per_s", default=FULL.new_per_s, show_default=True, help="New flows a second.")
@click.option("--every", "every_s", default=FULL.every_s, show_default=True, help="Each held flow asks in so many s.")
@click.option("--window", "window_s", default=FULL.window_s, show_default=True, help="Learn window in s.")
@click.option("--seed", default=1, show_default=True, help="Of the random changes.")
def main(only: tuple[str, ...], held: int, new_per_s: float, every_s: float, window_s: float, seed: int) -> None:
    """Take a balancer through every change under traffic, and count what breaks."""
    size = Size(held, new_per_s, every_s, window_s)
    if not 2 * every_s < window_s:
        _refuse("--window", f"{window_s:g}: a held flow may be silent for {2 * every_s:g} s; give more")
    chosen = [s for s in SCENARIOS if not only or any(words in s.name for words in only)]
    if not chosen:
        names = ", ".join(repr(scenario.name) for scenario in SCENARIOS)
        _refuse("--only", f"{only[0]!r} is in no name; there are: {names}")
    click.echo(_row(HEAD))
    right = [_play(scenario, size, seed) for scenario in chosen]
    sys.exit(0 if all(right) else 1)


def _refuse(option: str, why: str) -> NoReturn:
    raise click.BadParameter(why, param_hint=option)


def _play(scenario: Scenario, size: Size, seed: int) -> bool:
    """Play one, print its row, tell whether it is as it must be."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xdplb-consistency-") as name:
        try:
            with trial(scenario, size, Path(name), "xdplb-consistency", seed) as made:
                found = made.run()
        except (XdplbError, TimeoutError) as error:
            click.echo(f"{scenario.name:34} did not come to its end: {error}")
            return False
    click.echo(_row(_cells(scenario, found, time.monotonic() - began)))
    faults = scenario.faults(found, made.moving)
    for fault in faults:
        click.echo(f"    {fault}")
    return not faults


def _cells(scenario: Scenario, found: Judgement, took_s: float) -> tuple[object, ...]:
    counts = (found.opened, found.answers, len(found.broken), len(found.changed), len(found.stalled))
    times = (f"{found.p99_ms:.1f}", f"{found.slowest_ms:.0f}", f"{100 * found.cpu_share:.0f}", f"{took_s:.0f}")
    return scenario.name, *counts, found.slow, found.lost, *times


def _row(cells: tuple[object, ...]) -> str:
    first, *others = cells
    return f"{first!s:34}" + "".join(f"{cell!s:>9}" for cell in others)


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except XdplbError as error:
        click.echo(f"consistency: {error}", err=True)
        sys.exit(error.status)
