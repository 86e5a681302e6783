"""What is another one in a configuration than in another, one phrase each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from xdplb.model import Config

_SECRET = {"hash_key", "checks"}  # of checks: headers, bodies, commands


def compare_settings(before: Config, after: Config) -> list[str]:
    """Return every setting that is another one, but for services' backends: `service.web.ring_size: 1024 -> 2048`."""
    found = [
        *_differences("balancer", before.balancer, after.balancer),
        *_differences("guard", before.guard, after.guard),
        *_differences("admin", before.admin, after.admin),
        *_differences("metrics", before.metrics, after.metrics),
    ]
    was = {service.name: service for service in before.services}
    for service in after.services:
        if service.name in was:
            found += _differences(f"service.{service.name}", was[service.name], service, but="backends")
    return found


def _differences(key: str, before: Any, after: Any, but: str = "") -> Iterator[str]:
    for name in (item.name for item in fields(before)):
        old, new = getattr(before, name), getattr(after, name)
        if old != new and name != but:
            yield f"{key}.{name}: another one" if name in _SECRET else f"{key}.{name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def compare_backends(before: Config, after: Config) -> list[str]:
    """Return which services and backends come, go, or have another address or weight, one phrase each."""
    was, will = ({s.name: s for s in config.services} for config in (before, after))
    found = [f"service {name} removed" for name in was if name not in will]
    found += [f"service {name} added" for name in will if name not in was]
    for name in (name for name in will if name in was and was[name].backends != will[name].backends):
        old, new = ({b.name: b for b in service.backends} for service in (was[name], will[name]))
        found += [f"backend {name}/{gone} removed" for gone in old if gone not in new]
        found += [f"backend {name}/{come} added: {new[come].address}" for come in new if come not in old]
        for both in (both for both in new if both in old):
            found += _differences(f"backend {name}/{both}", old[both], new[both])
    return found
