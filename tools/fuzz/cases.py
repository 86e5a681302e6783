"""Failing inputs as JSON: a case and its frames, whole, so that they mean the same whatever the generators become."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from tools.fuzz.configs import Case
from tools.fuzz.run import Difference, Step
from xdplb import desired, model, tables
from xdplb.dataplane import plane

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "cases"
_CLASSES: dict[str, Any] = {"Case": Case, "Spec": plane.Spec} | {
    name: kind
    for module in (desired, model, tables)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, Enum))
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A failing input, and what it showed when it was found."""

    case: Case
    steps: tuple[Step, ...]
    found: str


def encode(value: Any) -> Any:
    """Return a value as JSON has it: a dataclass as its name and fields, bytes and addresses as texts."""
    if isinstance(value, Enum):
        return {type(value).__name__: value.value}
    if is_dataclass(value) and not isinstance(value, type):
        inner = {item.name: encode(getattr(value, item.name)) for item in fields(value)}
        return {
            type(value).__name__: {
                k: v for (k, v), item in zip(inner.items(), fields(value), strict=True) if v != encode(item.default)
            }
        }
    if isinstance(value, IPv4Address | IPv6Address):
        return {"Address": str(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


def decode(value: Any) -> Any:
    """Return what `encode` was given; lists become tuples."""
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    if name == "Address":
        return ip_address(content)
    if name == "bytes":
        return bytes.fromhex(content)
    kind = _CLASSES[name]
    return kind(content) if issubclass(kind, Enum) else kind(**{key: decode(item) for key, item in content.items()})


def keep(folder: Path, case: Case, steps: Sequence[Step], difference: Difference) -> Path:
    """Write a failing input; return where."""
    found = f"{difference.what}: expected {difference.expected}, got {difference.got}"
    content = {"found": found, "steps": [[state, frame.hex()] for state, frame in steps], "case": encode(case)}
    text = "{" + ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()) + "}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{difference.what}-{blake2b(text.encode(), digest_size=4).hexdigest()}.json"
    path.write_text(text + "\n")
    return path


def read(path: Path) -> Kept:
    """Return a failing input that was kept."""
    raw = json.loads(path.read_text())
    steps = tuple((state, bytes.fromhex(frame)) for state, frame in raw["steps"])
    return Kept(decode(raw["case"]), steps, raw["found"])
