"""Which rows there are, and in what order: services as configured, their backends sorted and filtered."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from rich.cells import cell_len

from xdplb.model import State
from xdplb.tui.rates import BackendRates, Rates, Status
from xdplb.tui.view import Key, Sort, View

# What needs somebody's eyes comes first.
SEVERITY = {
    State.DOWN: 0,
    State.UNREACHABLE: 1,
    State.CHECKING: 2,
    State.DRAINING: 3,
    State.IDLE: 4,
    State.UP: 5,
}


class Row(NamedTuple):
    """One line of the table: a service's head, or one of its backends. Both as the status has them."""

    service: dict[str, Any]
    backend: dict[str, Any] | None = None


class Listed(NamedTuple):
    """All rows, their keys, and how wide what they hold is. Made once per answer, for there may be 10,000."""

    rows: list[Row]
    keys: list[Key | None]
    name: int  # the longest backend's name
    address: int
    remembers: bool  # a backend has flows left: slots have changed their backend not long ago


def list_all(status: Status, rates: Rates, view: View) -> Listed:
    """Return what the table of this view is made of."""
    rows = list_rows(status, rates, view)
    backends = [one for service in status["services"] for one in service["backends"]]
    return Listed(
        rows,
        [(service["name"], backend["name"] if backend else None) for service, backend in rows],
        max((cells(one["name"]) for one in backends), default=0),
        max((len(one["address"]) for one in backends), default=0),
        any(one.get("flows_left") for one in backends),
    )


def cells(text: str) -> int:
    """Return how many cells of the screen a text takes; most names are ASCII, and that is quick."""
    return len(text) if text.isascii() else cell_len(text)


def list_rows(status: Status, rates: Rates, view: View) -> list[Row]:
    """Return all rows in their order; a service none of whose backends passes the filter has none."""
    words = view.filter.casefold().split()
    rows: list[Row] = []
    for service in status["services"]:
        backends = _matching(service, words)
        if words and not backends:
            continue
        rows.append(Row(service))
        rows += [Row(service, backend) for backend in sort_backends(service["name"], backends, rates, view)]
    return rows


def _matching(service: dict[str, Any], words: list[str]) -> list[dict[str, Any]]:
    """Return the backends in whose line, or whose service's line, every word occurs."""
    backends: list[dict[str, Any]] = service["backends"]
    if not words:
        return backends
    head = " ".join([service["name"], *service["vips"]]).casefold()
    words = [word for word in words if word not in head]
    return [
        one
        for one in backends
        if all(word in f"{one['name']} {one['address']} {one['state']}".casefold() for word in words)
    ]


def sort_backends(service: str, backends: list[dict[str, Any]], rates: Rates, view: View) -> list[dict[str, Any]]:
    """Return the backends in the view's order; equals stand by name."""
    by_name = sorted(backends, key=lambda backend: natural(backend["name"]))
    order = _order(service, rates, view.sort)
    if order is None:
        return by_name[::-1] if view.reverse else by_name
    return sorted(by_name, key=order, reverse=view.reverse)


def _order(service: str, rates: Rates, sort: Sort) -> Callable[[dict[str, Any]], float] | None:
    """Return what to sort by, smallest first: figures are negated, for one looks for the largest."""

    def of(backend: dict[str, Any]) -> BackendRates:
        return rates.backends[service, backend["name"]]

    match sort:
        case Sort.NAME:
            return None
        case Sort.STATE:
            return lambda backend: SEVERITY.get(backend["state"], -1)
        case Sort.WEIGHT:
            return lambda backend: -float(backend["weight"])
        case Sort.SHARE_ERROR:
            return lambda backend: -of(backend).share_error
        case Sort.PACKETS:
            return lambda backend: -rate.packets if (rate := of(backend).rate) else 0.0
        case Sort.BITS:
            return lambda backend: -rate.bits if (rate := of(backend).rate) else 0.0
        case Sort.CONNECTIONS:
            return lambda backend: -rate.connections if (rate := of(backend).rate) else 0.0


@lru_cache(maxsize=10_000)
def natural(name: str) -> tuple[tuple[str, int], ...]:
    """Return a sort key under which b2 stands before b10."""
    return tuple((word, int(digits or 0)) for word, digits in re.findall(r"(\D*)(\d*)", name))
