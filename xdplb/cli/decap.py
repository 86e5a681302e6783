"""`xdplb decap`: the agent on a backend."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import click

from xdplb.cli import names
from xdplb.cli.shown import Shown, as_json, shown, tell_json
from xdplb.errors import ConfigError

if TYPE_CHECKING:
    from xdplb.dataplane.loader import Pinned
    from xdplb.decap import Settings
    from xdplb.reporter import Whom

_name = click.option("--name", default="main", show_default=True, help="Tells several agents on one machine apart.")


@click.group()
def decap() -> None:
    """Take off outer headers on a backend, so that its stack sees the client's packet."""


@decap.command()
@_name
@click.option(
    "--interface", required=True, help="Where packets from the balancer arrive.", shell_complete=names.interfaces
)
@click.option("--from", "sources", multiple=True, metavar="PREFIX", help="Believe only this balancer; repeatable.")
@click.option("--vip", "vips", multiple=True, metavar="PREFIX", help="Hand on only what is for this; repeatable.")
@click.option("--gue-port", default="6080", metavar="PORT", show_default=True, help="UDP port to which GUE comes.")
@click.option("--second-chance", is_flag=True, help="Hand on what another backend may have the connection of.")
@click.option("--report", is_flag=True, help="Tell balancers where clients want to, and nobody answers.")
@click.option("--report-to", multiple=True, metavar="ADDRESS", help="Tell these, not who sends; repeatable.")
@click.option("--report-port", default="6090", metavar="PORT", show_default=True, help="UDP port of the balancers.")
@click.option("--mode", default="native", type=click.Choice(["native", "generic", "offload"]), show_default=True)
def run(
    name: str,
    interface: str,
    sources: tuple[str, ...],
    vips: tuple[str, ...],
    gue_port: str,
    second_chance: bool,
    report: bool,
    report_to: tuple[str, ...],
    report_port: str,
    mode: str,
) -> None:
    """Attach to an interface, and wait for SIGTERM or Ctrl-C.

    What is attached goes on (`xdplb decap detach` ends it).
    A PREFIX is an address too.

    \b
    Example:
      xdplb decap run --interface eth0 --from 10.0.2.2
    """
    import asyncio

    from xdplb import decap as agent
    from xdplb import notify
    from xdplb.dataplane import loader
    from xdplb.values import parse_place

    settings = agent.Settings(
        tuple(agent.parse_network("--from", text) for text in sources),
        tuple(agent.parse_network("--vip", text) for text in vips),
        agent.parse_port("--gue-port", gue_port),
        second_chance,
        report,
    )
    whom = _parse_whom(settings, report_to, agent.parse_port("--report-port", report_port))
    _need_capabilities("run")
    place = agent.place_for(parse_place("--name", name))
    attached = asyncio.run(agent.attach(place, interface, settings, mode))
    click.echo(f"{interface}: decap program {attached.program_id} in {mode} mode")
    notify.tell("READY=1", f"STATUS=program {attached.program_id} on {interface}, {mode} mode")
    if not settings.sources:
        click.echo("warning: outer headers from any source are believed; give --from BALANCER", err=True)
    if whom:
        _report(loader.obtain(place, agent.request_for(settings)), whom)
    else:
        _wait()
    click.echo("stopped; what is attached goes on (`xdplb decap detach` ends it)")


def _parse_whom(settings: Settings, addresses: tuple[str, ...], port: int) -> Whom | None:
    """Return who is told of what is not answered; None: nobody. Raises ConfigError."""
    from xdplb.reporter import Whom
    from xdplb.values import parse_address

    whom = Whom(tuple(parse_address("--report-to", text) for text in addresses), port, settings.sources)
    if addresses and not settings.report:
        raise ConfigError("--report-to", "does nothing without --report", "add --report")
    if settings.report and not (addresses or settings.sources):
        fix = "give --from BALANCER, or --report-to ADDRESS"
        raise ConfigError("--report", "strangers could have reports sent to anybody", fix)
    return whom if settings.report else None


def _wait(timeout_s: float | None = None) -> bool:
    """Wait for SIGTERM or Ctrl-C; tell whether one came within the time."""
    numbers = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    if timeout_s is None:
        signal.sigwait(numbers)
        return True
    return signal.sigtimedwait(numbers, timeout_s) is not None


def _report(pinned: Pinned, whom: Whom) -> None:
    """Tell the balancers what is not answered, until SIGTERM or Ctrl-C."""
    from xdplb.reporter import EVERY_S, Reporter

    told = ", ".join(map(str, whom.addresses)) or "whoever sends"
    click.echo(f"reporting to port {whom.port} of {told}")
    with contextlib.closing(Reporter(pinned, whom)) as reporter:
        problem = ""
        while not _wait(EVERY_S):
            reporter.look()
            if reporter.problem != problem:
                problem = reporter.problem
                click.echo(f"warning: {problem}", err=True)


@decap.command()
@_name
@shown
def status(name: str) -> Shown:
    """Show what was taken off and what was not.

    \b
    Example:
      xdplb decap status
      xdplb decap status --json
    """
    from xdplb import decap as agent
    from xdplb.values import parse_place

    _need_capabilities("status")
    counters = agent.read_counters(agent.place_for(parse_place("--name", name)))
    return Shown(counters, [f"{counter:20} {value:>14,}" for counter, value in counters.items()])


@decap.command()
@_name
@as_json
def detach(name: str, as_json: bool) -> None:
    """Take the program off.

    \b
    Example:
      xdplb decap detach --json
    """
    from xdplb import decap as agent
    from xdplb.dataplane import loader
    from xdplb.values import parse_place

    _need_capabilities("detach")
    place = agent.place_for(parse_place("--name", name))
    found = loader.detach(place) if place.pins.is_dir() else []
    place.remove()
    if as_json:
        tell_json({"name": name, "detached": len(found)})
    else:
        click.echo(f"{name}: detached from {len(found)} interface(s)")


def _need_capabilities(command: str) -> None:
    from xdplb import capabilities

    capabilities.require(f"decap {command}")
