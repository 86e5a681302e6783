"""`xdplb`: the group of all commands, imported only when called, and the exit statuses.

0: done. 1: the daemon or the kernel could not do it. 2: what was typed or configured is wrong; nothing was changed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from xdplb import __version__
from xdplb.cli import names
from xdplb.cli.lazy import Lazy
from xdplb.errors import XdplbError

_COMMANDS = {
    "run": "xdplb.cli.run:run",
    "confirm": "xdplb.cli.confirm:confirm",
    "check-config": "xdplb.cli.check_config:check_config",
    "status": "xdplb.cli.status:status",
    "services": "xdplb.cli.services:services",
    "check": "xdplb.cli.check:check",
    "events": "xdplb.cli.events:events",
    "top": "xdplb.cli.top:top",
    "plan": "xdplb.cli.plan:plan",
    "backend": "xdplb.cli.backend:backend",
    "flows": "xdplb.cli.flows:flows",
    "guard": "xdplb.cli.guard:guard",
    "detach": "xdplb.cli.detach:detach",
    "decap": "xdplb.cli.decap:decap",
    "completion": "xdplb.cli.completion:completion",
}

# The first sentence of each, so that --help imports none of them; a test compares.
_HELPS = {
    "run": "Balance as CONFIG says, until SIGTERM or Ctrl-C.",
    "confirm": "Have what `run --confirm` attached stay.",
    "check-config": "Check CONFIG; say what it describes or what is wrong with it.",
    "status": "Show services, backends and counters.",
    "services": "List VIPs and backends in the manner of `ipvsadm -Ln`.",
    "check": "Run each check of BACKEND once, now.",
    "events": "Show what became of backends since the daemon's start, and why.",
    "top": "Watch services and backends live; `?` shows the keys.",
    "plan": "Say what a restart with CONFIG would change; change nothing.",
    "backend": "Add, remove, drain, undrain and weigh backends while traffic flows.",
    "flows": "Show or forget the flows that are remembered.",
    "guard": "Block and allow sources of packets to VIPs.",
    "detach": "Take the program off its interface and remove its tables.",
    "decap": "Take off outer headers on a backend, so that its stack sees the client's packet.",
    "completion": "Print what makes SHELL complete xdplb's commands, options and names.",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Which daemon the commands talk to; `given` is the name that was typed, if one was."""

    given: str | None

    @property
    def name(self) -> str:
        """Its name."""
        return self.given or "main"

    @property
    def socket(self) -> Path:
        """Its admin socket."""
        return Path("/run/xdplb", self.name, "admin.sock")


@click.group(cls=Lazy, places=_COMMANDS, helps=_HELPS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xdplb")
@click.option(
    "--name",
    envvar="XDPLB_NAME",
    help="The balancer's name; `run` takes it instead of balancer.name. [default: main]",
    shell_complete=names.balancers,
)
@click.pass_context
def cli(ctx: click.Context, name: str | None) -> None:
    """A load balancer whose packet core is an XDP program.

    \b
    Example:
      xdplb --name main status
    """
    ctx.color = _colour()
    if name is not None and not (name.isascii() and name.isalnum() and len(name) < 32):  # those need no import
        from xdplb.values import parse_place

        parse_place("--name", name)
    ctx.obj = Target(name)


def _colour() -> bool | None:
    """Return what NO_COLOR and FORCE_COLOR say (no-color.org, force-color.org); None: colours on a terminal only."""
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def main() -> None:
    """Run the command line; expected errors become one line on standard error."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(130)
    except XdplbError as error:
        click.echo(f"xdplb: {error}", err=True)
        sys.exit(error.status)
    except BrokenPipeError:
        sys.exit(0)
