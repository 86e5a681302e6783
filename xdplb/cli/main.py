"""`xdplb`: the group of all commands, imported only when called, and the exit statuses.

0: done. 1: the daemon or the kernel could not do it. 2: what was typed or configured is wrong; nothing was changed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdplb import __version__
from xdplb.errors import ConfigError, XdplbError

if TYPE_CHECKING:
    from xdplb.admin.client import Remote

_COMMANDS = {
    "run": "xdplb.cli.run:run",
    "confirm": "xdplb.cli.confirm:confirm",
    "check-config": "xdplb.cli.check_config:check_config",
    "status": "xdplb.cli.status:status",
    "check": "xdplb.cli.check:check",
    "explain": "xdplb.cli.explain:explain",
    "audit": "xdplb.cli.audit:audit",
    "events": "xdplb.cli.events:events",
    "trace": "xdplb.cli.trace:trace",
    "sources": "xdplb.cli.sources:sources",
    "metrics": "xdplb.cli.metrics:metrics",
    "top": "xdplb.cli.top:top",
    "plan": "xdplb.cli.plan:plan",
    "apply": "xdplb.cli.apply:apply",
    "diff": "xdplb.cli.diff:diff",
    "reload": "xdplb.cli.reload:reload",
    "save": "xdplb.cli.save:save",
    "doctor": "xdplb.cli.doctor:doctor",
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
    remote: Remote | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.given or "main"

    @property
    def socket(self) -> Path | Remote:
        """Its admin socket, or where it is on another machine."""
        return self.remote or Path("/run/xdplb", self.name, "admin.sock")


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
@click.option("--url", envvar="XDPLB_URL", help="A daemon on another machine: https://host:8443.")
@click.option("--cert", envvar="XDPLB_CERT", metavar="FILE", help="With --url: your certificate.")
@click.option("--key", envvar="XDPLB_KEY", metavar="FILE", help="With --url: its key.")
@click.option("--ca", envvar="XDPLB_CA", metavar="FILE", help="With --url: who signs the daemon's certificate.")
@click.pass_context
def cli(ctx: click.Context, /, name: str | None, url: str | None, **files: str | None) -> None:
    """A load balancer whose packet core is an XDP program."""
    if name is not None:
        from xdplb.values import parse_place

        parse_place("--name", name)
    ctx.obj = Target(name, _remote(url, files))


def _remote(url: str | None, files: Mapping[str, str | None]) -> Remote | None:
    """Return where commands go with --url. Raises ConfigError."""
    if url is None:
        return None
    from xdplb.admin.client import Remote

    for option, path in files.items():
        if not path:
            fix = f"give it, or set XDPLB_{option.upper()}"
            raise ConfigError(f"--{option}", "missing: with --url, both sides show certificates", fix)
    return Remote(url, *(files[option] or "" for option in ("cert", "key", "ca")))


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
