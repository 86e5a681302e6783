"""Who gets a service's new flows when too few of its backends are up: panic, and what was chosen for "all down". Pure.

Nothing is remembered here, and that bounds what flapping can do: who serves changes only when some check's result does,
and checks dampen those (health/check.py). A threshold of its own for the way back would add nothing but memory.

A backend without a result yet does not count, so one that is added neither begins nor ends a panic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

from xdplb.model import Backend, Service, WhenAllDown


@dataclass(frozen=True, slots=True)
class Lent(Backend):
    """A backend of another service that serves for this one when all of its own are down.

    It is named `service/name`, as no backend of a file can be; `checked`: its own service has checks.
    """

    service: str = ""
    own_name: str = ""
    checked: bool = True


def with_fallback(service: Service, others: Iterable[Service]) -> Service:
    """Return a service with its own backends, and behind them those that its fallback lends it."""
    if service.fallback is None:
        return service
    other = next((other for other in others if other.name == service.fallback), None)
    if other is None:
        return service
    lent = [
        Lent(f"{other.name}/{b.name}", b.address, b.weight, other.name, b.name, bool(other.checks))
        for b in other.backends
    ]
    return replace(service, backends=(*service.backends, *lent))


class Serve(Enum):
    """Who gets new flows."""

    UP = auto()  # of the service's own backends those that are up
    ALL = auto()  # those that are down, too
    LENT = auto()  # those that are up of the fallback service


@dataclass(frozen=True, slots=True)
class Count:
    """How many backends a service has: of its own, and `lent`, those of its fallback that are up.

    `up` and `down` could get new flows, by what their checks say; `checking` have no result yet; `others` cannot get
    new flows for another reason: unreachable, draining, without a weight.
    """

    up: int
    down: int
    checking: int = 0
    others: int = 0
    lent: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who gets new flows, and why, as one phrase; "" when nothing is unusual."""

    serve: Serve = Serve.UP
    why: str = ""


def decide(service: Service, count: Count) -> Verdict:
    """Return who gets a service's new flows: of a fallback that can serve, before panic, and panic before the rest."""
    known = count.up + count.down
    undecided = count.checking and not known + count.others
    if service.when_all_down is WhenAllDown.FALLBACK and count.lent and not count.up and not undecided:
        own = known + count.checking + count.others
        return Verdict(Serve.LENT, f"none of {service.name}'s own {own} can serve")
    if not count.down:
        return Verdict()
    if 100 * count.up < service.panic_percent * known:
        return Verdict(Serve.ALL, f"panic, {count.up} of {known} up is below {service.panic_percent:g} %")
    if not count.up and service.when_all_down is WhenAllDown.KEEP:
        return Verdict(Serve.ALL, f'none of {known} is up and when_all_down = "keep"')
    return Verdict()
