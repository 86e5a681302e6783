"""`xdplb`: the group of all commands, imported only when called, and the exit statuses.

0: done. 1: the daemon or the kernel could not do it. 2: what was typed or configured is wrong; nothing was changed.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from xdplb import __version__
from xdplb.errors import XdplbError

_COMMANDS = {
    "run": "xdplb.cli.run:run",
    "confirm": "xdplb.cli.confirm:confirm",
    "check-config": "xdplb.cli.check_config:check_config",
    "status": "xdplb.cli.status:status",
    "check": "xdplb.cli.check:check",
    "events": "xdplb.cli.events:events",
    "metrics": "xdplb.cli.metrics:metrics",
    "top": "xdplb.cli.top:top",
    "plan": "xdplb.cli.plan:plan",
    "backend": "xdplb.cli.backend:backend",
    "flows": "xdplb.cli.flows:flows",
    "guard": "xdplb.cli.guard:guard",
    "detach": "xdplb.cli.detach:detach",
    "decap": "xdplb.cli.decap:decap",
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


class _Lazy(click.Group):
    """Commands by name; a command's imports are paid only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xdplb")
@click.option(
    "--name", envvar="XDPLB_NAME", help="The balancer's name; `run` takes it instead of balancer.name. [default: main]"
)
@click.pass_context
def cli(ctx: click.Context, name: str | None) -> None:
    """A load balancer whose packet core is an XDP program."""
    if name is not None:
        from xdplb.values import parse_place

        parse_place("--name", name)
    ctx.obj = Target(name)


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
