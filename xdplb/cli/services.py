"""`xdplb services`: VIPs and their backends, as they are known from `ipvsadm -Ln`, with counters or rates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli import names
from xdplb.cli.main import Target
from xdplb.cli.shown import Shown, shown
from xdplb.errors import ConfigError

Document = dict[str, Any]
Row = tuple[str, ...]

COUNTERS = ("connections", "packets", "bytes")
LEFT = 2  # so many columns are text, the others are numbers, except forward and state
LARGE = 10**8  # ipvsadm's: up to here a number stands as it is


@click.command()
@click.argument("service", required=False, shell_complete=names.services)
@click.option("--stats", is_flag=True, help="Show connections, packets and bytes since the start.")
@click.option("--rate", is_flag=True, help="Show them per second, as measured over an interval.")
@click.option(
    "--interval", default=1.0, type=click.FloatRange(0.1, 3600), show_default=True, help="Of --rate, seconds."
)
@click.option("--exact", is_flag=True, help="Show large numbers in full, not as thousands (K), millions (M, G, T).")
@shown
@click.pass_obj
def services(target: Target, service: str | None, stats: bool, rate: bool, interval: float, exact: bool) -> Shown:
    """List VIPs and backends in the manner of `ipvsadm -Ln`.

    Each VIP is a line, with the numbers of its whole service; each backend of the service is a line that begins with
    `->`. FlowsLeft are the flows that are remembered for it. Bytes are those of clients' packets; answers do not
    come this way.

    \b
    Example:
      xdplb services
      xdplb services web --stats --exact
      xdplb services --rate --interval 0.2 --json
    """
    if stats and rate:
        raise click.UsageError("--stats and --rate are two listings: give one of them")
    client = Client(target.socket)
    found, measured_s = _choose(client.status(), service), None
    if rate:
        before, began = _counted(found), time.monotonic()
        time.sleep(interval)
        found, measured_s = _choose(client.status(), service), time.monotonic() - began
        _add_rates(found, before, measured_s)
    document = {"services": found, "measured_s": measured_s and round(measured_s, 3)}
    return Shown(document, _listing(found, "rate" if rate else "stats" if stats else "", exact))


def _choose(document: Document, name: str | None) -> list[Document]:
    """Return all services, or the one of that name. Raises ConfigError."""
    found = [service for service in document["services"] if name in (None, service["name"])]
    if not found and name is not None:
        there = ", ".join(service["name"] for service in document["services"])
        raise ConfigError("service", f"there is no service {name!r}", f"the services are: {there or 'none'}")
    return found


def _counted(services: list[Document]) -> dict[tuple[str, str], dict[str, int]]:
    return {
        (service["name"], backend["name"]): {counter: backend[counter] for counter in COUNTERS}
        for service in services
        for backend in service["backends"]
    }


def _add_rates(services: list[Document], before: dict[tuple[str, str], dict[str, int]], took_s: float) -> None:
    """Give each backend its `rate`, per second; one that is new since counts from nothing."""
    for service in services:
        for backend in service["backends"]:
            old = before.get((service["name"], backend["name"]), dict.fromkeys(COUNTERS, 0))
            if any(backend[counter] < old[counter] for counter in COUNTERS):
                old = dict.fromkeys(COUNTERS, 0)  # removed and added again meanwhile
            backend["rate"] = {counter: round((backend[counter] - old[counter]) / took_s, 1) for counter in COUNTERS}


def _listing(services: list[Document], what: str, exact: bool) -> Iterator[str]:
    numbers = {"stats": ("Conns", "InPkts", "InBytes"), "rate": ("CPS", "InPPS", "InBPS")}
    columns = numbers.get(what, ("Forward", "Weight", "State", "FlowsLeft"))
    rows: list[Row] = [("Prot Address:Port", "Service", *columns), ("  -> Address", "Backend", *columns)]
    for service in services:
        rows += _service(service, what, exact)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    texts = {i for i, name in enumerate(rows[0]) if name in ("Forward", "State") or i < LEFT}
    for row in rows:
        cells = [
            text.ljust(w) if i in texts else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield " ".join(cells).rstrip()


def _service(service: Document, what: str, exact: bool) -> Iterator[Row]:
    """Yield the lines of a service: its VIPs, then its backends."""
    backends = service["backends"]
    if what:
        sums = [sum(_number(backend, what, counter) for backend in backends) for counter in COUNTERS]
        of_all: Row = tuple(_short(number, exact) for number in sums)
    else:
        up = sum(backend["state"] == "up" for backend in backends)
        weight, left = (sum(backend[key] for backend in backends) for key in ("weight", "flows_left"))
        of_all = (service["forward"], str(weight), f"{up}/{len(backends)}", _short(left, exact))
    for vip in service["vips"]:
        address, _, protocol = vip.rpartition("/")
        yield f"{protocol.upper():4} {address}", service["name"], *of_all
    for backend in backends:
        if what:
            cells: Row = tuple(_short(_number(backend, what, counter), exact) for counter in COUNTERS)
        else:
            left = _short(backend["flows_left"], exact)
            cells = (service["forward"], str(backend["weight"]), backend["state"], left)
        yield f"  -> {backend['address']}", backend["name"], *cells


def _number(backend: Document, what: str, counter: str) -> int:
    number: float = backend["rate"][counter] if what == "rate" else backend[counter]
    return round(number)


def _short(number: int, exact: bool) -> str:
    """Write a number in at most nine characters, as ipvsadm does, unless it is wanted in full."""
    if exact or number < LARGE:
        return str(number)
    for unit in "KMG":
        number //= 1000
        if number < LARGE:
            return f"{number}{unit}"
    return f"{number // 1000}T"
