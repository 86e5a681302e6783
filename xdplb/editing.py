"""Write run-time changes into the text of a configuration, whose comments and layout stay. Pure.

Who is draining or being removed has no place in a file: that stays a run-time change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tomlkit
from tomlkit import items

from xdplb.desired import Key, Overrides
from xdplb.model import DEFAULT_WEIGHT, Backend
from xdplb.prefixes import Prefix, parse_prefix

Filed = Mapping[str, Collection[Prefix]]  # what is on the lists "block" and "allow" by their files


@dataclass(slots=True)
class Edited:
    """A text after edits: what of the changes it says now, and what not and why, one phrase each."""

    text: str
    written: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def write_back(text: str, overrides: Overrides, filed: Filed) -> Edited:
    """Return the text with these changes in it, which must be right TOML of ours."""
    document, edited = tomlkit.parse(text), Edited(text)
    tables: Any = document.get("service", [])
    services = {str(table["name"]): table for table in tables}
    for phrase, name, edit in _edits(overrides):
        if name not in services:
            edited.left.append(f"{phrase}: the file has no service {name!r}")
            continue
        edit(services[name])
        edited.written.append(phrase)
    for prefix, verdict in sorted(overrides.prefixes.items()):
        _write_prefix(document, prefix, verdict, filed, edited)
    for service, name in sorted(overrides.draining):
        what = "is being removed" if (service, name) in overrides.removing else "is draining"
        edited.left.append(f"backend {service}/{name} {what}")
    edited.text = tomlkit.dumps(document)
    return edited


def _edits(overrides: Overrides) -> Iterator[tuple[str, str, Callable[[Any], None]]]:
    """Yield what is to be done in which service; who is replaced goes before the new one comes."""
    for key in sorted(overrides.removed):
        yield f"backend {'/'.join(key)} removed", key[0], lambda table, key=key: _remove(table, key)  # type: ignore[misc]
    for key, weight in sorted(overrides.weights.items()):
        phrase = f"backend {'/'.join(key)} has weight {weight}"
        yield phrase, key[0], lambda table, key=key, weight=weight: _weigh(table, key, weight)  # type: ignore[misc]
    for service, backends in sorted(overrides.added.items()):
        for backend in backends:
            phrase = f"backend {service}/{backend.name} added"
            yield phrase, service, lambda table, backend=backend: _add(table, backend)  # type: ignore[misc]


# --- backends -------------------------------------------------------------------------------------------------


def _find(table: Any, name: str) -> int | None:
    """Return the place of a backend among a service's; its address is its name where it has none."""
    names = [str(b.get("name", b["address"])) for b in table.get("backends", [])]
    return names.index(name) if name in names else None


def _remove(table: Any, key: Key) -> None:
    at = _find(table, key[1])
    if at is None:
        return
    backends = table["backends"]
    if isinstance(backends, items.AoT):
        tail = _take_tail(backends[at])
        while tail and isinstance(tail[0][1], items.Whitespace):  # the blank line was its own
            tail.pop(0)
        del backends[at]
        if len(backends):
            _give_tail(backends[max(at - 1, 0)], tail)
        else:
            del table["backends"]
            _give_tail(table, tail)
    else:
        del backends[at]


def _weigh(table: Any, key: Key, weight: int) -> None:
    at = _find(table, key[1])
    if at is None:
        return
    backend = table["backends"][at]
    if "weight" in backend:
        backend["weight"] = weight
    elif isinstance(backend, items.InlineTable):  # by its text: so it keeps its spaces
        head, end = re.fullmatch(r"(.*?)(\s*\})", backend.as_string(), re.S).groups()  # type: ignore[union-attr]
        table["backends"][at] = tomlkit.value(f"{head}, weight = {weight}{end}")
    else:
        tail = _take_tail(backend)
        backend["weight"] = weight
        _give_tail(backend, tail)


def _add(table: Any, backend: Backend) -> None:
    _remove(table, ("", backend.name))
    if "backends" not in table:
        tail = _take_tail(table)
        table["backends"] = tomlkit.value("[\n]")
        _give_tail(table, tail)
    backends, fields = table["backends"], _fields(backend)
    if isinstance(backends, items.AoT):
        last, new = backends[-1], tomlkit.table()
        new.update(fields)
        tail = _take_tail(last)  # what stands before whatever comes after it
        _give_tail(last, [(None, tomlkit.ws("\n"))])
        backends.append(new)
        _give_tail(new, tail)
    else:
        pairs = ", ".join(f"{name} = {tomlkit.item(value).as_string()}" for name, value in fields.items())
        backends.append(tomlkit.value(f"{{ {pairs} }}"))


def _fields(backend: Backend) -> dict[str, str | int]:
    named = {"name": backend.name} if backend.name != str(backend.address) else {}
    weighed = {"weight": backend.weight} if backend.weight != DEFAULT_WEIGHT else {}
    return {**named, "address": str(backend.address), **weighed}


# What stands between a table's last key and the next header lies in that table, and is about the next one.


def _take_tail(table: Any) -> list[Any]:
    body = table.value.body
    tail: list[Any] = []
    while body and body[-1][0] is None:
        tail.insert(0, body.pop())
    return tail


def _give_tail(table: Any, tail: list[Any]) -> None:
    table.value.body.extend(tail)


# --- lists ----------------------------------------------------------------------------------------------------

_WORDS = {"block": "blocked", "allow": "allowed", None: "off the lists"}


def _write_prefix(document: Any, text: str, verdict: str | None, filed: Filed, edited: Edited) -> None:
    """Have a prefix on one inline list alone, unless a list's file says otherwise."""
    prefix, phrase = parse_prefix(text), f"{text} {_WORDS[verdict]}"
    for name in ("block", "allow"):
        if name != verdict and prefix in filed[name]:
            edited.left.append(f"{phrase}: it stands in guard.{name}_file")
            return
    if "guard" not in document:
        document["guard"] = tomlkit.table()
    guard = document["guard"]
    for name in ("block", "allow"):
        there = [at for at, entry in enumerate(guard.get(name, [])) if parse_prefix(str(entry)) == prefix]
        if name != verdict:
            for at in reversed(there):
                del guard[name][at]
        elif not there and prefix not in filed[name]:
            if name not in guard:
                tail = _take_tail(guard)
                guard[name] = tomlkit.array()
                _give_tail(guard, tail)
            guard[name].append(text)
    edited.written.append(phrase)
