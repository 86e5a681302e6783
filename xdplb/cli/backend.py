"""`xdplb backend`: change which backends there are, whether they get new flows, and how many."""

from __future__ import annotations

from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli import names
from xdplb.cli.main import Target
from xdplb.cli.plan import show
from xdplb.cli.shown import as_json, tell_json
from xdplb.cli.wait import flows_text, wait_counted, wait_gone
from xdplb.model import DEFAULT_WEIGHT
from xdplb.values import parse_duration

_name = click.argument("name", metavar="BACKEND", shell_complete=names.backends)
_only = click.option("--service", help="Only in this service; otherwise wherever it is.", shell_complete=names.services)
_for = click.option("--for", "duration", metavar="TIME", help="At most so long, as 30s, 10m or 2h.")
_wait = click.option("--wait", is_flag=True, help="Return when its last flow is gone, or the time is over.")
_plan = click.option("--plan", is_flag=True, help="Only say what would change.")


@click.group()
def backend() -> None:
    """Add, remove, drain, undrain and weigh backends while traffic flows.

    Such changes outlive a restart and are shown by `xdplb status` as differences from the file.
    """


@backend.command()
@click.argument("service", shell_complete=names.services)
@click.argument("address")
@click.option("--backend-name", help="Its name; the address if not given.")
@click.option("--weight", default=DEFAULT_WEIGHT, show_default=True, help="Its share of new flows; 0: none.")
@_plan
@as_json
@click.pass_obj
def add(
    target: Target, service: str, address: str, backend_name: str | None, weight: int, plan: bool, as_json: bool
) -> None:
    """Add the server at ADDRESS to SERVICE; one that is being removed is kept.

    \b
    Example:
      xdplb backend add web 10.0.14.2 --backend-name b4 --plan
      xdplb backend add web 10.0.14.2 --backend-name b4 --weight 50
    """
    _tell("added", Client(target.socket).add_backend(service, address, backend_name, weight, plan), as_json)


@backend.command()
@_name
@_only
@_for
@_wait
@click.option("--now", is_flag=True, help="At once; its flows break.")
@_plan
@as_json
@click.pass_obj
def remove(
    target: Target,
    name: str,
    service: str | None,
    duration: str | None,
    wait: bool,
    now: bool,
    plan: bool,
    as_json: bool,
) -> None:
    """Drain BACKEND, and remove it when its flows are gone, after ten minutes at the latest.

    \b
    Example:
      xdplb backend remove b4 --for 1s --wait
      xdplb backend remove b3 --service web --now --json
    """
    if now and (wait or duration):
        raise click.UsageError("--now waits for nothing: leave --wait and --for away")
    client = Client(target.socket)
    answer = client.remove_backend(name, service, _seconds(duration), now, plan)
    if now or plan:
        _tell("removed", answer, as_json)
    else:
        _let_go(client, "being removed", answer, wait, as_json)


@backend.command()
@_name
@_only
@_for
@_wait
@_plan
@as_json
@click.pass_obj
def drain(
    target: Target, name: str, service: str | None, duration: str | None, wait: bool, plan: bool, as_json: bool
) -> None:
    """Send no new flows to BACKEND and let its old flows end.

    After the time that --for gives, those that are left break.

    \b
    Example:
      xdplb backend drain b2 --plan
      xdplb backend drain b2 --for 1s --wait
    """
    client = Client(target.socket)
    answer = client.drain_backend(name, service, _seconds(duration), plan)
    if plan:
        _tell("draining", answer, as_json)
    else:
        _let_go(client, "draining", answer, wait, as_json)


@backend.command()
@click.argument("name", metavar="BACKEND", shell_complete=names.leaving)
@_only
@_plan
@as_json
@click.pass_obj
def undrain(target: Target, name: str, service: str | None, plan: bool, as_json: bool) -> None:
    """Take the drain of BACKEND back, or its removal that is not over.

    \b
    Example:
      xdplb backend undrain b2 --json
    """
    _tell("undrained", Client(target.socket).undrain_backend(name, service, plan), as_json)


@backend.command()
@_name
@click.argument("weight", type=int)
@_only
@_plan
@as_json
@click.pass_obj
def weight(target: Target, name: str, weight: int, service: str | None, plan: bool, as_json: bool) -> None:
    """Give BACKEND another share of new flows; with 0 it gets none, and keeps those that it has.

    \b
    Example:
      xdplb backend weight b1 50
    """
    _tell(f"has weight {weight}", Client(target.socket).weigh_backend(name, service, weight, plan), as_json)


def _seconds(duration: str | None) -> float | None:
    return None if duration is None else parse_duration("--for", duration)


def _let_go(client: Client, what: str, answer: dict[str, Any], wait: bool, as_json: bool) -> None:
    """Say what the change came to, then how many flows are left."""
    _tell(what, answer, as_json)
    there = [entry for entry in answer["backends"] if entry["state"] != "removed"]
    if wait:
        wait_gone(client, there, aside=as_json)
    elif not as_json:
        for entry in wait_counted(client, there):
            click.echo(f"{entry['service']}/{entry['name']}: {flows_text(entry)}")


def _tell(what: str, answer: dict[str, Any], as_json: bool) -> None:
    """Say what the change came to, or what it would."""
    if as_json:
        tell_json(answer)
        return
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
