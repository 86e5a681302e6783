"""`python -m tools.fuzz`: the program in the kernel against the oracle (root). What is random follows from the seed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from tools.fuzz import cases, mutants
from tools.fuzz.work import fuzz


@click.command()
@click.option("--packets", default=4_000_000, show_default=True, help="Frames over all.")
@click.option("--configs", default=400, show_default=True, help="Configurations; ten of them share a compiled spec.")
@click.option("--seed", type=int, help="What everything random follows from; else the time.")
@click.option("--seconds", default=3600.0, show_default=True, help="Begin nothing new after so long.")
@click.option("--jobs", default=2, show_default=True, help="Processes.")
@click.option("--keep", type=click.Path(path_type=Path), default=cases.FOLDER, help="Folder for failing inputs.")
@click.option("--stop", is_flag=True, help="End with the first difference.")
@click.option("--mutants", "breaking", is_flag=True, help="Break the program in many ways, and see each found.")
def main(
    packets: int, configs: int, seed: int | None, seconds: float, jobs: int, keep: Path, stop: bool, breaking: bool
) -> None:
    """Compare the XDP program with the oracle."""
    if os.geteuid():
        raise click.ClickException("loading XDP programs needs root")
    if breaking:
        sys.exit(mutants.find_all(click.echo))
    seed = int(time.time()) if seed is None else seed
    report = fuzz(seed, packets, configs, seconds, jobs, keep, stop)
    click.echo("\n".join(report.lines(seed)))
    sys.exit(1 if report.found else 0)


if __name__ == "__main__":
    main()
