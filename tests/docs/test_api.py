"""docs/api.md names every request, parameter, role, status and field that the OpenAPI document has, and none more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xdplb.admin.answers import BODY_S, KEEP_ALIVE_S, MOST_BYTES, SLOW_S
from xdplb.admin.connections import IDLE_S, OF_ONE
from xdplb.admin.openapi import DOCUMENT
from xdplb.audit import FILE_BYTES
from xdplb.events import BACKEND, DONE, KEPT

TEXT = (Path(__file__).resolve().parents[2] / "docs/api.md").read_text()


def test_every_request_with_its_parameters_and_role() -> None:
    documented = {}
    for method, path, query, role in re.findall(r"^\| `([A-Z]+) (/[^`?]*)\??([^`]*)` \| (\w+) \|", TEXT, re.M):
        documented[method, path] = {part.split("=")[0] for part in query.split("&") if part}, role
    described = {}
    for path, item in DOCUMENT["paths"].items():
        for method, found in item.items():
            query = {p["name"] for p in found.get("parameters", ()) if p["in"] == "query"}
            described[method.upper(), path] = query, found["x-role"]
    assert documented == described


def names(schema: Any) -> Iterator[str]:
    """Yield the fields of a schema, and of what stands in it without a name of its own."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from names(part)


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_field_of_every_document(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    section = TEXT.split(f"\n### {name}\n")[1].split("\n### ")[0]
    first = re.findall(r"^\| (`[^|]+`) \|", section, re.M)
    told = {field for cell in first for field in re.findall(r"`(\w+)`", cell)}
    assert told == set(schema["properties"])
    assert set(names(schema)) <= set(re.findall(r"`(\w+)`", section))


def test_every_status_and_bound() -> None:
    codes = {int(c) for item in DOCUMENT["paths"].values() for found in item.values() for c in found["responses"]}
    assert {int(c) for c in re.findall(r"^\| (\d+) \|", TEXT, re.M)} == codes - {200} | {405}
    assert (BODY_S, IDLE_S, SLOW_S, KEEP_ALIVE_S, OF_ONE, KEPT) == (30, 30, 30, 15, 64, 1000)
    assert (MOST_BYTES, FILE_BYTES) == (8 << 20, 4 << 20)


def test_every_kind_of_event() -> None:
    row = next(line for line in TEXT.split("\n### Event\n")[1].splitlines() if line.startswith("| `kind` |"))
    assert set(re.findall(r"`(\w+)`", row)) == {"kind", BACKEND, *DONE}
