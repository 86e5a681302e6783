"""docs/logs.md names every event that the code logs, with its fields and levels, and the limits that it keeps."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from xdplb import logs
from xdplb.events import Event

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/logs.md").read_text()
SOURCES = sorted((ROOT / "xdplb").rglob("*.py"))
METHODS = {"debug", "info", "warning", "error", "critical", "exception"}
# Fields that are given as a whole: `**event.fields()`, `**facts`.
GIVEN = {"event": set(Event(1, 0, "", "", None, None, "").fields())}


def calls(name: str) -> Iterator[tuple[ast.Call, ast.Module]]:
    """Every call of a function in the package, with its file."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield node, tree


def fields_of(call: ast.Call, tree: ast.Module) -> set[str]:
    """Return the names of the fields that are given."""
    found = {keyword.arg for keyword in call.keywords if keyword.arg}
    for whole in (keyword.value for keyword in call.keywords if keyword.arg is None):
        if isinstance(whole, ast.Name):  # a table that was written down just before
            tables = (
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Dict)
                and ast.unparse(node.targets[0]) == whole.id
                and 0 <= call.lineno - node.lineno < 4
            )
            found |= {ast.literal_eval(key) for table in tables for key in table.keys if key}
        else:
            found |= GIVEN[ast.unparse(whole).partition(".")[0]]
    return found


def logged() -> dict[str, tuple[set[str], set[str]]]:
    """Return levels and fields of each event."""
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for call, tree in calls("log_event"):
        level, event = ast.unparse(call.args[1]).removeprefix("logging.").lower(), ast.literal_eval(call.args[2])
        found[event][0].add(level)
        found[event][1].update(fields_of(call, tree))
    if any(True for _ in calls("log_bug")):
        found["bug"][0].add("critical")
    return found


def test_every_event_is_documented_with_its_levels_and_fields() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \| (.*?) ?\| .+ \|$", TEXT.partition("## Events")[2], re.M)
    documented = {
        event: (set(levels.split(", ")), set(re.findall(r"`(\w+)`", fields))) for event, levels, fields in rows
    }
    assert documented == dict(logged())
    assert [row[0] for row in rows] == sorted(documented)


def test_nothing_is_logged_without_a_name() -> None:
    """`log.warning(...)` would have no event."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path.name != "logs.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in METHODS
        and ast.unparse(node.func.value) in ("log", "logging", "logger")
    ]
    assert not found


def test_limits_are_those_of_the_code() -> None:
    assert f"at most {logs.SAME} times a minute, an event at most {logs.ALIKE} times" in TEXT
    assert logs.WINDOW_S == 60
