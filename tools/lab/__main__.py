"""The testbed by hand: `python -m tools.lab up`, play, `python -m tools.lab down`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click

from tools.lab import record, web
from tools.lab.net import MOST_BACKENDS, VIP4, VIP6, Lab, address
from xdplb.dataplane.loader import Place
from xdplb.errors import XdplbError
from xdplb.state import directory

_prefix = click.option("--prefix", default="xdplb-lab", show_default=True, help="Tells several labs apart.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A client, a router, a balancer and backends as network namespaces of this machine."""


@cli.command()
@click.option("--backends", default=3, show_default=True, type=click.IntRange(1, MOST_BACKENDS))
@_prefix
def up(backends: int, prefix: str) -> None:
    """Build the network, with a web server on each backend, and leave it standing."""
    with Lab(prefix, backends) as lab:
        config = record.FOLDER / f"{prefix}.toml"
        _remove_at_down(lab, config)
        config.write_text(_config(lab))
        web.start(lab, lab.backends, stderr=subprocess.DEVNULL)
        lab.keep()
    click.echo(_what_next(lab, config))


@cli.command()
@_prefix
def down(prefix: str) -> None:
    """Remove the network and end everything that runs in it."""
    record.take_down(prefix)


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_prefix
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(prefix: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST, with this terminal."""
    Lab.find(prefix).become(host, command)


@cli.command()
def sweep() -> None:
    """Remove what killed processes left: every lab whose owner is dead."""
    for prefix in record.sweep():
        click.echo(f"removed {prefix}")


def _remove_at_down(lab: Lab, config: Path) -> None:
    """Have all removed that the commands of `_what_next` will leave."""
    lab.remove_at_down(config)
    lab.remove_at_down(directory(lab.prefix))
    for name in (lab.prefix, *(f"decap-{lab.prefix}-{host}" for host in lab.backends)):
        lab.remove_at_down(Place(name).pins)
        lab.remove_at_down(Place(name).run)


def _config(lab: Lab) -> str:
    rows = "".join(f'  {{ name = "{host}", address = "{address(host)}" }},\n' for host in lab.backends)
    return (
        f'[balancer]\ninterface = "eth0"\nname = "{lab.prefix}"\n\n'
        f'[[service]]\nname = "web"\nvips = ["{VIP4}:80", "[{VIP6}]:80"]\n'
        f"check = {{ interval_s = 0.5, timeout_s = 0.5, rise = 2, fall = 2 }}\nbackends = [\n{rows}]\n"
    )


def _what_next(lab: Lab, config: Path) -> str:
    python = sys.executable.removeprefix(f"{os.getcwd()}/")
    option = "" if lab.prefix == "xdplb-lab" else f" --prefix {lab.prefix}"
    run = shlex.quote(python) + f" -m tools.lab run{option}"
    xdplb = f"{shlex.quote(python)} -m xdplb"
    decap = "decap run --interface eth0 " + " ".join(f"--from {address('lb', version)}" for version in (4, 6))
    return f"""\
{", ".join(lab.hosts)} are up; a web server runs on each backend. Next, here and as root:

the agent on each backend:
  for b in {" ".join(lab.backends)}; do {run} $b {xdplb} {decap} --name {lab.prefix}-$b & done
the balancer, in a second terminal:
  {run} lb {xdplb} run {config}
requests through the VIPs:
  {run} client curl -s http://{VIP4}/ 'http://[{VIP6}]/'
  {run} client {python} -m tools.lab.load --url http://{VIP4}/ --rate 500
what it does, and a backend taken out:
  {xdplb} --name {lab.prefix} top
  {xdplb} --name {lab.prefix} backend drain b1
and away with all of it:
  {shlex.quote(python)} -m tools.lab down{option}"""


def main() -> None:
    """Run the command line; expected errors become one line on standard error."""
    try:
        sys.exit(cli.main(prog_name="python -m tools.lab", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (XdplbError, PermissionError) as error:
        click.echo(f"lab: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
