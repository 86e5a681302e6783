"""Which interface does each configured name mean now, and what is wrong with it? Pure.

The kernel holds a program by an interface's number, so an interface that is renamed stays ours. But the name is what
the operator wrote: where there is an interface of that name, it is the one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

Numbers = Mapping[str, int]  # configured name -> number of its interface now, 0: there is none


class Link(Protocol):
    """What has to be known of an interface."""

    @property
    def name(self) -> str:
        """What it is called now."""

    @property
    def up(self) -> bool:
        """Whether it was switched on (administratively)."""

    @property
    def carrier(self) -> bool:
        """Whether there is somebody at the other end."""


def follow(known: Numbers, links: Mapping[int, Link], gone: Collection[int] = ()) -> dict[str, int]:
    """Return the number of each name's interface, as the links are now.

    `gone`: numbers whose interfaces were removed since: who has such a number now is not the old one renamed.
    """
    by_name = {link.name: index for index, link in links.items()}
    found = {name: by_name.get(name, 0) for name in known}
    for name, index in known.items():
        if not found[name] and index in links and index not in gone and index not in found.values():
            found[name] = index
    return found


class Kind(Enum):
    """What may be wrong with an interface."""

    VANISHED = "vanished"
    RENAMED = "renamed"
    DOWN = "down"
    NO_CARRIER = "no carrier"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that the operator should know of an interface: while it lasts, and when it is over."""

    name: str
    kind: Kind
    text: str
    over: str


def problems(numbers: Numbers, links: Mapping[int, Link]) -> list[Problem]:
    """Return what is wrong now."""
    return [problem for name, index in numbers.items() for problem in _problems(name, links.get(index))]


def _problems(name: str, link: Link | None) -> list[Problem]:
    if link is None:
        text = f"{name} has vanished; as soon as an interface of that name appears, the program is attached to it"
        return [Problem(name, Kind.VANISHED, text, f"{name} is there again")]
    found, called = [], link.name
    if called != name:
        text = f"{name} is called {called} now and goes on forwarding; rename it back, or change balancer.interface"
        found.append(Problem(name, Kind.RENAMED, text, f"{name} has its name again"))
    if not link.up:
        text = f"{called} is down; run `ip link set {called} up`"
        found.append(Problem(name, Kind.DOWN, text, f"{called} is up again"))
    elif not link.carrier:
        text = f"{called} has no carrier; look at its cable and at the other end"
        found.append(Problem(name, Kind.NO_CARRIER, text, f"{called} has its carrier again"))
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """The balancer's interfaces at one time."""

    numbers: Numbers
    problems: Collection[Problem]


def news(before: Seen, now: Seen) -> list[str]:
    """Return what an operator wants to read of a change, one line each."""
    lines = []
    for name, index in now.numbers.items():
        old = before.numbers.get(name, 0)
        if index and not old:
            lines.append(f"{name} is there again, as number {index}")
        elif index and index != old:
            lines.append(f"{name} is another interface now, number {index}; number {old} is left")
    same = {name for name, index in now.numbers.items() if index == before.numbers.get(name, 0)}
    still = {(p.name, p.kind) for p in now.problems}
    lines += [p.over for p in before.problems if p.name in same and (p.name, p.kind) not in still]
    lines += [p.text for p in now.problems if p not in before.problems]
    return lines
