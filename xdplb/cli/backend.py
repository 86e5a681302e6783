"""`xdplb backend`: change which backends there are, whether they get new flows, and how many."""

from __future__ import annotations

from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.cli.plan import show
from xdplb.cli.wait import flows_text, wait_counted, wait_gone
from xdplb.model import DEFAULT_WEIGHT
from xdplb.values import parse_duration

_name = click.argument("name", metavar="BACKEND")
_only = click.option("--service", help="Only in this service; otherwise wherever it is.")
_for = click.option("--for", "duration", metavar="TIME", help="At most so long, as 30s, 10m or 2h.")
_wait = click.option("--wait", is_flag=True, help="Return when its last flow is gone, or the time is over.")
_plan = click.option("--plan", is_flag=True, help="Only say what would change.")


@click.group()
def backend() -> None:
    """Add, remove, drain, undrain and weigh backends while traffic flows.

    Such changes outlive a restart and are shown by `xdplb status` as differences from the file.
    """


@backend.command()
@click.argument("service")
@click.argument("address")
@click.option("--backend-name", help="Its name; the address if not given.")
@click.option("--weight", default=DEFAULT_WEIGHT, show_default=True, help="Its share of new flows; 0: none.")
@_plan
@click.pass_obj
def add(target: Target, service: str, address: str, backend_name: str | None, weight: int, plan: bool) -> None:
    """Add the server at ADDRESS to SERVICE; one that is being removed is kept."""
    _tell("added", Client(target.socket).add_backend(service, address, backend_name, weight, plan))


@backend.command()
@_name
@_only
@_for
@_wait
@click.option("--now", is_flag=True, help="At once; its flows break.")
@_plan
@click.pass_obj
def remove(
    target: Target, name: str, service: str | None, duration: str | None, wait: bool, now: bool, plan: bool
) -> None:
    """Drain BACKEND, and remove it when its flows are gone, after ten minutes at the latest."""
    if now and (wait or duration):
        raise click.UsageError("--now waits for nothing: leave --wait and --for away")
    client = Client(target.socket)
    answer = client.remove_backend(name, service, _seconds(duration), now, plan)
    if now or plan:
        _tell("removed", answer)
    else:
        _let_go(client, "being removed", answer, wait)


@backend.command()
@_name
@_only
@_for
@_wait
@_plan
@click.pass_obj
def drain(target: Target, name: str, service: str | None, duration: str | None, wait: bool, plan: bool) -> None:
    """Send no new flows to BACKEND and let its old flows end; after the time, break those that are left."""
    client = Client(target.socket)
    answer = client.drain_backend(name, service, _seconds(duration), plan)
    if plan:
        show(answer)
    else:
        _let_go(client, "draining", answer, wait)


@backend.command()
@_name
@_only
@_plan
@click.pass_obj
def undrain(target: Target, name: str, service: str | None, plan: bool) -> None:
    """Take the drain of BACKEND back, or its removal that is not over."""
    _tell("undrained", Client(target.socket).undrain_backend(name, service, plan))


@backend.command()
@_name
@click.argument("weight", type=int)
@_only
@_plan
@click.pass_obj
def weight(target: Target, name: str, weight: int, service: str | None, plan: bool) -> None:
    """Give BACKEND another share of new flows; with 0 it gets none, and keeps those that it has."""
    _tell(f"has weight {weight}", Client(target.socket).weigh_backend(name, service, weight, plan))


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else parse_duration("--for", duration)


def _let_go(client: Client, what: str, answer: dict[str, Any], wait: bool) -> None:
    """Say what the change came to, then how many flows are left."""
    _tell(what, answer)
    there = [entry for entry in answer["backends"] if entry["state"] != "removed"]
    if wait:
        wait_gone(client, there)
    else:
        for entry in wait_counted(client, there):
            click.echo(f"{entry['service']}/{entry['name']}: {flows_text(entry)}")


def _tell(what: str, answer: dict[str, Any]) -> None:
    if "settings" in answer:
        show(answer)
        return
    for entry in answer["backends"]:
        removed = entry["state"] == "removed"
        state = "removed" if removed else f"{what}, now {entry['state']} ({entry['reason']})"
        broken = f"; {_breaks_text(entry['breaks'])}" if "breaks" in entry else ""
        click.echo(f"{entry['service']}/{entry['name']} {state}{broken}")
    click.echo(f"{answer['writes']} map entries written in {answer['took_ms']} ms")


def _breaks_text(breaks: dict[str, Any]) -> str:
    """Say what breaks: a number where it is known, else the slots whose flows nobody has counted."""
    if breaks["flows"] is not None:
        least = "at least " if breaks["more"] else ""
        return f"{least}{breaks['flows']:,} flows break" if breaks["flows"] or least else "no flow breaks"
    if not breaks["slots"]:
        return "what it had of flows, not counted yet, breaks"
    slots, size = breaks["slots"], breaks["ring_size"]
    part = f"{slots:,} of {size:,} slots ({slots / size:.0%})".replace("%", " %")
    return f"all flows in its {part} break; drain it first to have them counted"
