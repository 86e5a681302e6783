"""`xdplb`: the group of all commands, imported only when called, and the exit statuses.

0: done. 1: the daemon or the kernel could not do it. 2: what was typed or configured is wrong; nothing was changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdplb import __version__
from xdplb.cli import names
from xdplb.cli.lazy import Lazy
from xdplb.errors import ConfigError, XdplbError

if TYPE_CHECKING:
    from xdplb.admin.client import Remote

_COMMANDS = {
    "run": "xdplb.cli.run:run",
    "confirm": "xdplb.cli.confirm:confirm",
    "check-config": "xdplb.cli.check_config:check_config",
    "status": "xdplb.cli.status:status",
    "services": "xdplb.cli.services:services",
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
    "completion": "xdplb.cli.completion:completion",
}

# The first sentence of each, so that --help imports none of them; a test compares.
_HELPS = {
    "run": "Balance as CONFIG says, until SIGTERM or Ctrl-C.",
    "confirm": "Have stay what `run --confirm` attached or `apply --confirm` took up.",
    "check-config": "Check CONFIG; say what it describes or what is wrong with it.",
    "status": "Show services, backends and counters.",
    "services": "List VIPs and backends in the manner of `ipvsadm -Ln`.",
    "check": "Run each check of BACKEND once, now.",
    "explain": "Say what would become of a packet, and why.",
    "audit": "Show who changed what with the daemon, and what was refused to whom.",
    "events": "Show what happened since the daemon's start: to backends and why, and what was changed by whom.",
    "trace": "Show live packets, each with its verdict and reason.",
    "sources": "Show which sources send most packets, to which service, and what becomes of them.",
    "metrics": "Print all metrics in Prometheus' text format.",
    "top": "Watch services, backends and events live, drain and weigh backends; `?` shows the keys.",
    "plan": "Say what CONFIG would change if it were applied; change nothing.",
    "apply": "Show what CONFIG changes, and take it up, all of it or nothing.",
    "diff": "Show how the file on disk, what is in force, and run-time changes differ.",
    "reload": "Have the daemon take up its file, all of it or nothing; SIGHUP does the same.",
    "save": "Write what was changed at run time into the daemon's file; comments and layout stay.",
    "doctor": "Check this box, and print what is wrong, why it matters and what mends it.",
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
    remote: Remote | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.given or "main"

    @property
    def socket(self) -> Path | Remote:
        """Its admin socket, or where it is on another machine."""
        return self.remote or Path("/run/xdplb", self.name, "admin.sock")


@click.group(cls=Lazy, places=_COMMANDS, helps=_HELPS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xdplb")
@click.option(
    "--name",
    envvar="XDPLB_NAME",
    help="The balancer's name; `run` takes it instead of balancer.name. [default: main]",
    shell_complete=names.balancers,
)
@click.option("--url", envvar="XDPLB_URL", help="A daemon on another machine: https://host:8443.")
@click.option("--cert", envvar="XDPLB_CERT", metavar="FILE", help="With --url: your certificate.")
@click.option("--key", envvar="XDPLB_KEY", metavar="FILE", help="With --url: its key.")
@click.option("--ca", envvar="XDPLB_CA", metavar="FILE", help="With --url: who signs the daemon's certificate.")
@click.pass_context
def cli(ctx: click.Context, /, name: str | None, url: str | None, **files: str | None) -> None:
    """A load balancer whose packet core is an XDP program.

    \b
    Example:
      xdplb --name main status
    """
    ctx.color = _colour()
    if name is not None and not (name.isascii() and name.isalnum() and len(name) < 32):  # those need no import
        from xdplb.values import parse_place

        parse_place("--name", name)
    ctx.obj = target_of(name, url, **files)


def target_of(name: str | None = None, url: str | None = None, **files: str | None) -> Target:
    """Return whom the options of the group mean. Raises ConfigError."""
    return Target(name, _remote(url, files))


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
