"""What must outlive the daemon: run-time changes, what checks found, counters of tables that are gone, the hash key.

One JSON file, replaced as a whole, so that a crash leaves the old one or the new one. What checks found is believed
only within one boot: a backend's state of last week says nothing.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from xdplb.desired import Health, Key, Overrides, overrides_to_json
from xdplb.errors import DaemonError
from xdplb.health.check import Memory
from xdplb.health.memory import memory_from_json, memory_to_json
from xdplb.model import Backend
from xdplb.tables import Traffic

DIRECTORY = Path("/var/lib/xdplb")
PIECE = 100  # entries that are encoded in one call: some hundred microseconds


@dataclass(slots=True)
class Kept:
    """The content of the file."""

    overrides: Overrides = field(default_factory=Overrides)
    health: dict[Key, Health] = field(default_factory=dict)
    places: dict[Key, str] = field(default_factory=dict)  # addresses of the backends that `health` is about
    traffic: dict[int, Traffic] = field(default_factory=dict)  # of tables that were replaced, by identity
    verdicts: dict[str, int] = field(default_factory=dict)
    checks: dict[str, Memory] = field(default_factory=dict)  # by fingerprint of what is probed
    ramps: dict[Key, float] = field(default_factory=dict)  # slow starts: when they began, in seconds since the boot


def directory(name: str) -> Path:
    """Return where a balancer keeps what must survive a reboot."""
    return DIRECTORY / name


def load(name: str) -> Kept:
    """Read the file; a missing one is an empty one. Raises DaemonError when it makes no sense."""
    path = directory(name) / "state.json"
    try:
        raw = json.loads(path.read_text())
        return _kept(raw, same_boot=raw["boot"] == _boot())
    except FileNotFoundError:
        return Kept()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DaemonError(f"{path} cannot be read ({error}); move it away to start without run-time changes") from None


def save(name: str, kept: Kept) -> None:
    """Replace the file. Raises DaemonError, and then the old file stands."""
    write(name, encode(kept))


def encode(kept: Kept) -> str:
    """Return the content of the file. A long list comes in pieces: one call for all of it would let no thread run."""
    raw = {
        "boot": _boot(),
        "overrides": overrides_to_json(kept.overrides),
        "traffic": [[identity, asdict(traffic)] for identity, traffic in kept.traffic.items()],
        "verdicts": kept.verdicts,
        "ramps": [[*key, began] for key, began in kept.ramps.items()],
    }
    health = [[*key, h.up, h.cause, kept.places.get(key, "")] for key, h in kept.health.items() if h.up is not None]
    found = f'"health": [{", ".join(_pieces(health))}]'
    memories = (f'"{name}": {json.dumps(memory_to_json(memory))}' for name, memory in kept.checks.items())
    return f'{json.dumps(raw)[:-1]}, {found}, "checks": {{{", ".join(memories)}}}}}'


def _pieces(entries: list[Any]) -> Iterator[str]:
    return (json.dumps(entries[at : at + PIECE])[1:-1] for at in range(0, len(entries), PIECE))


def write(name: str, text: str) -> None:
    """Replace the file by this content. Raises DaemonError, and then the old file stands."""
    path = directory(name) / "state.json"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, text)
    except OSError as error:
        raise DaemonError(f"{path} cannot be written ({error.strerror}); nothing was changed") from None


def hash_key(name: str) -> str:
    """Return this box's own hash key, made at the first call: restarts must not move flows."""
    path = directory(name) / "hash_key"
    try:
        if path.exists():
            key = path.read_text().strip()
            if not key:
                raise DaemonError(
                    f"{path} is empty; write the key of the other boxes to it, or remove it for a new one"
                )
            return key
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = secrets.token_hex(16)
        _replace(path, key + "\n")
        return key
    except OSError as error:
        raise DaemonError(f"{path} cannot be read or written ({error.strerror})") from None


def _replace(path: Path, text: str) -> None:
    """Write a file that only root may read, so that also a power loss leaves the old one or the new one."""
    beside = path.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _kept(raw: Any, same_boot: bool) -> Kept:
    overrides = overrides_from_json(raw["overrides"])
    if not same_boot:
        return Kept(overrides)
    return Kept(
        overrides,
        {(service, name): Health(up, cause) for service, name, up, cause, _ in raw["health"]},
        {(service, name): place.partition(" ")[0] for service, name, _, _, place in raw["health"]},
        {identity: Traffic(**traffic) for identity, traffic in raw["traffic"]},
        dict(raw["verdicts"]),
        {name: memory for name, kept in raw.get("checks", {}).items() if (memory := memory_from_json(kept))},
        _by_key(raw.get("ramps", [])),
    )


def overrides_from_json(changed: Any) -> Overrides:
    """Return the changes that `overrides_to_json` was given. Raises KeyError, TypeError, ValueError."""
    return Overrides(
        added={
            service: [Backend(b["name"], ip_address(b["address"]), b["weight"]) for b in backends]
            for service, backends in changed["added"].items()
        },
        removed={(service, name) for service, name in changed["removed"]},
        draining={(service, name) for service, name in changed["draining"]},
        prefixes=dict(changed.get("prefixes", {})),
        **{name: _by_key(changed.get(name, [])) for name in ("weights", "deadlines", "removing")},
    )


def _by_key(entries: Any) -> dict[Key, Any]:
    return {(service, name): value for service, name, value in entries}
