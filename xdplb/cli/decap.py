"""`xdplb decap`: the agent on a backend."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import click

from xdplb.errors import RefusedError

_name = click.option("--name", default="main", show_default=True, help="Tells several agents on one machine apart.")


@click.group()
def decap() -> None:
    """Take off the balancer's outer header on a backend, so that its stack sees the client's packet."""


@decap.command()
@_name
@click.option("--interface", required=True, help="Where packets from the balancer arrive.")
@click.option("--from", "sources", multiple=True, metavar="PREFIX", help="Believe only this balancer; repeatable.")
@click.option("--vip", "vips", multiple=True, metavar="PREFIX", help="Hand on only what is for this; repeatable.")
@click.option("--gue-port", default="6080", metavar="PORT", show_default=True, help="UDP port to which GUE comes.")
@click.option("--second-chance", is_flag=True, help="Hand on what another backend may have the connection of.")
@click.option("--mode", default="native", type=click.Choice(["native", "generic", "offload"]), show_default=True)
def run(
    name: str,
    interface: str,
    sources: tuple[str, ...],
    vips: tuple[str, ...],
    gue_port: str,
    second_chance: bool,
    mode: str,
) -> None:
    """Attach to an interface, and wait for SIGTERM or Ctrl-C; what is attached goes on (`decap detach` ends it).

    A PREFIX is an address too.
    """
    from xdplb import decap as agent
    from xdplb.values import parse_place

    settings = agent.Settings(
        tuple(agent.parse_network("--from", text) for text in sources),
        tuple(agent.parse_network("--vip", text) for text in vips),
        agent.parse_port("--gue-port", gue_port),
        second_chance,
    )
    _need_root("run")
    place = agent.place_for(parse_place("--name", name))
    attached = asyncio.run(agent.attach(place, interface, settings, mode))
    click.echo(f"{interface}: decap program {attached.program_id} in {mode} mode")
    if not settings.sources:
        click.echo("warning: outer headers from any source are believed; give --from BALANCER", err=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.pause()
    click.echo("stopped; what is attached goes on (`xdplb decap detach` ends it)")


@decap.command()
@_name
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(name: str, as_json: bool) -> None:
    """Show what was taken off and what was not."""
    from xdplb import decap as agent
    from xdplb.values import parse_place

    _need_root("status")
    counters = agent.read_counters(agent.place_for(parse_place("--name", name)))
    if as_json:
        click.echo(json.dumps(counters))
        return
    for counter, value in counters.items():
        click.echo(f"{counter:20} {value:>14,}")


@decap.command()
@_name
def detach(name: str) -> None:
    """Take the program off."""
    from xdplb import decap as agent
    from xdplb.dataplane import loader
    from xdplb.values import parse_place

    _need_root("detach")
    place = agent.place_for(parse_place("--name", name))
    found = loader.detach(place) if place.pins.is_dir() else []
    place.remove()
    click.echo(f"{name}: detached from {len(found)} interface(s)")


def _need_root(command: str) -> None:
    if os.geteuid() != 0:
        raise RefusedError(f"decap {command} needs root (CAP_BPF, CAP_NET_ADMIN)")
