"""`xdplb status`: what is balanced, by what, and how it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.cli.shown import Shown, shown

COLUMNS = ("weight", "slots", "packets", "bytes", "connections", "flows_left")  # scripts count on their order
COLORS = {"up": "green", "down": "red", "unreachable": "red", "draining": "yellow", "checking": "yellow"}


@click.command()
@shown
@click.pass_obj
def status(target: Target) -> Shown:
    """Show services, backends and counters.

    \b
    Example:
      xdplb status
      xdplb status --json
      xdplb status --watch 5
    """
    document = Client(target.socket).status()
    return Shown(document, _lines(document))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    yield from _head(document)
    for service in document["services"]:
        yield f"\n{service['name']}  {', '.join(service['vips'])}  {_ring(service)}"
        yield from _table(service["backends"])
    counted = {reason: n for reason, n in document["verdicts"].items() if n}
    if spared := {name: n for name, n in document["spared"].items() if n}:
        yield "\nspared (counted only): " + ", ".join(f"{name} {n:,}" for name, n in spared.items())
    yield "\nnot forwarded: " + (", ".join(f"{r} {n:,}" for r, n in counted.items()) or "nothing")


def _ring(service: dict[str, Any]) -> str:
    size, moving, moved = service["ring_size"], service["moving_slots"], service["moved_slots"]
    if not moving and not moved:
        return f"ring of {size} slots"
    return f"ring of {size} slots: {size - moving - moved} settled, {moving} moving, {moved} moved"


def _head(document: dict[str, Any]) -> list[str]:
    nics, last, start = document["interfaces"], document["reconcile"], document["start"]
    uptime = timedelta(seconds=int(document["now"] - document["started"]))
    lines = [f"xdplb {document['version']} {document['name']!r}, pid {document['pid']}, up {uptime}"]
    lines += [_interface(nic) for nic in nics]
    for nic in [nic for nic in nics if "error" not in nic][:1]:
        lines.append(f"compiled in: {', '.join(nic['compiled'])}; maps {nic['map_bytes'] / 2**20:.1f} MiB")
        lines.append(f"tables {nic['layout']}, code {nic['code']}")
    counts = [nic["xdp_tx_errors"] for nic in nics if nic.get("xdp_tx_errors") is not None]
    errors = f"{sum(counts):,}" if counts else "unknown"
    guard = document["guard"]
    if guard["blocked"] or guard["allowed"]:
        lines.append(f"guard: {guard['blocked']:,} prefixes blocked, {guard['allowed']:,} allowed")
    sent = document["forwarded"]
    lines.append(f"forwarded {sent['packets']:,} packets, {sent['bytes']:,} bytes; send errors of the NIC: {errors}")
    how = "adopted what was there" if start["adopted"] else "loaded a new program"
    lines.append(
        f"start: {how}, wrote {start['writes']:,} map entries; last reconcile: {last['writes']:,} in "
        f"{last['took_s'] * 1e3:.1f} ms"
    )
    flows = document["flows"]
    if flows["remembered"]:
        lines.append(f"flows remembered: {flows['remembered']:,}, room for {flows['room']:,}")
    if last["error"]:
        lines.append(click.style(f"error: {last['error']}", fg="red"))
    if trial := document["unconfirmed"]:
        text = f"unconfirmed: {trial['then']} in {trial['left_s']:.0f} s unless `xdplb confirm`"
        lines.append(click.style(text, fg="yellow", bold=True))
        lines += [click.style(f"self-test: {failure}", fg="yellow") for failure in trial["failures"]]
    lines += [click.style(f"warning: {text}", fg="yellow") for text in document["warnings"]]
    if document["config"]["changes"]:
        lines.append("changed since the file: " + "; ".join(document["config"]["changes"]))
    return lines


def _interface(nic: dict[str, Any]) -> str:
    if "error" in nic:
        return f"{nic['name']}: {nic['error']}"
    if nic["program_id"] is None:
        return f"{nic['name']}: no program is attached, driver {nic['driver']}, MTU {nic['mtu']}"
    program = f"program {nic['program_id']}, link {nic['link_id']}"
    return f"{nic['name']}: XDP {nic['mode']} mode, {program}, driver {nic['driver']}, MTU {nic['mtu']}"


def _table(backends: list[dict[str, Any]]) -> list[str]:
    head = ("backend", "address", "state", *COLUMNS, "reason")
    rows = [
        (
            b["name"],
            b["address"],
            b["state"],
            *(f"{b[k]:,}" for k in COLUMNS),
            b["reason"],
        )
        for b in backends
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head) - 1)]
    lines = []
    for row in [head, *rows]:
        cells = [
            text.ljust(w) if i < 3 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=False))
        ]
        if row[2] in COLORS:
            cells[2] = click.style(cells[2], fg=COLORS[row[2]])
        lines.append("  " + "  ".join([*cells, row[-1]]).rstrip())
    return lines
