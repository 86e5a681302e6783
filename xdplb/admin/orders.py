"""From what a request says to changed overrides. Pure: what is wrong is refused here, before anything has changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xdplb import operators
from xdplb.desired import Key, Overrides
from xdplb.errors import ConfigError
from xdplb.model import DEFAULT_WEIGHT, Config
from xdplb.values import make_backend, parse_duration, within

REMOVAL_S = 600.0  # how long a removal waits for flows unless told
LONGEST_S = 7 * 86400


def add(config: Config, overrides: Overrides, service: str, body: Mapping[str, Any]) -> list[Key]:
    """Add the backend of a body to a service. Raises ConfigError."""
    _only(body, "address", "name", "weight")
    address, name = body.get("address"), body.get("name")
    if not isinstance(address, str):
        raise ConfigError("address", f"{address!r} is no text", "give the backend's IP address")
    if name is not None and not isinstance(name, str):
        raise ConfigError("name", f"{name!r} is no text", "give a name or leave it out")
    backend = make_backend("backend", address, name, _weight(body.get("weight", DEFAULT_WEIGHT)))
    operators.add_backend(config, overrides, service, backend)
    return [(service, backend.name)]


def put(config: Config, overrides: Overrides, service: str, name: str, body: Mapping[str, Any]) -> list[Key]:
    """Have a service the backend of a body under this name: twice is once. Raises ConfigError."""
    _only(body, "address", "weight")
    address = body.get("address")
    if not isinstance(address, str):
        raise ConfigError("address", f"{address!r} is no text", "give the backend's IP address")
    backend = make_backend("backend", address, name, _weight(body.get("weight", DEFAULT_WEIGHT)))
    operators.put_backend(config, overrides, service, backend)
    return [(service, backend.name)]


def weigh(config: Config, overrides: Overrides, name: str, service: str | None, body: Mapping[str, Any]) -> list[Key]:
    """Give a backend the weight of a body. Raises ConfigError."""
    _only(body, "weight")
    return operators.weigh_backend(config, overrides, name, service, _weight(body.get("weight")))


def remove(config: Config, overrides: Overrides, name: str, query: Mapping[str, str], now: float) -> list[Key]:
    """Remove a backend when its flows are gone, or with `now=1` at once. Raises ConfigError."""
    at_once, for_s = flag(query, "now"), duration(query)
    if at_once and for_s is not None:
        raise ConfigError("for_s", "makes no sense with now", "give one of them")
    at = None if at_once else now + (REMOVAL_S if for_s is None else for_s)
    return operators.remove_backend(config, overrides, name, query.get("service"), at)


def drain(config: Config, overrides: Overrides, name: str, query: Mapping[str, str], now: float) -> list[Key]:
    """Drain a backend, for so long at the most if told. Raises ConfigError."""
    for_s = duration(query)
    until = None if for_s is None else now + for_s
    return operators.drain_backend(config, overrides, name, query.get("service"), until)


def duration(query: Mapping[str, str]) -> float | None:
    """Return `for_s`, if given. Raises ConfigError."""
    text = query.get("for_s")
    return None if text is None else within("for_s", parse_duration("for_s", text), 1, LONGEST_S)


def number(text: str, name: str = "after") -> int:
    """Return an event's number. Raises ConfigError."""
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ConfigError(name, f"{text!r} is no number", "give that of the last event that you saw, or 0")
    return int(text)


def whole(name: str, text: str, least: int, most: int) -> int:
    """Return a whole number between bounds. Raises ConfigError."""
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ConfigError(name, f"{text!r} is no whole number", f"give {least} to {most}")
    return int(within(name, int(text), least, most))


def flag(query: Mapping[str, str], name: str) -> bool:
    """Return whether a flag is set. Raises ConfigError."""
    text = query.get(name, "0")
    if text not in ("0", "1"):
        raise ConfigError(name, f"{text!r} is not known", "give 1 or 0")
    return text == "1"


def _weight(weight: Any) -> int:
    if not isinstance(weight, int) or isinstance(weight, bool):
        raise ConfigError("weight", f"{weight!r} is no whole number", "give 0 to 65535")
    return weight


def _only(body: Mapping[str, Any], *known: str) -> None:
    if unknown := sorted(set(body) - set(known)):
        raise ConfigError(unknown[0], "unknown key", f"known here: {', '.join(known)}")
