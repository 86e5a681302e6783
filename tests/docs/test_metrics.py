"""docs/metrics.md has every metric as the code knows it, and the examples ask for none that does not exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rig.promtool import promtool
from xdplb.contract import BPF_DIR
from xdplb.metrics import METRICS
from xdplb.model import State

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NAMES = {metric.name: metric for metric in METRICS}
_WORDS = re.compile(r'"[^"]*"')


def expressions(node: Any) -> Iterator[str]:
    """Every PromQL expression of a dashboard, and what its variables ask for."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "query") and isinstance(value, str) and value != "prometheus":
                yield value
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def asked_for() -> list[str]:
    """Every expression of the examples."""
    rules = re.findall(r"expr: (.*)", (EXAMPLES / "alerts.yaml").read_text())
    return [*expressions(json.loads((EXAMPLES / "grafana.json").read_text())), *rules]


def test_every_metric_is_documented_as_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", (ROOT / "docs/metrics.md").read_text(), re.M)
    documented = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in rows]
    assert documented == [(m.name, m.kind, m.labels, m.meaning.rstrip(".")) for m in METRICS]


def test_examples_ask_only_for_what_there_is() -> None:
    found = set()
    for expression in asked_for():
        names = set(re.findall(r"\b(?:xdplb|process)_\w+", _WORDS.sub("", expression)))
        assert names, expression
        assert names <= NAMES.keys(), (expression, names - NAMES.keys())
        labels = {label for name in names for label in NAMES[name].labels} | {"instance", "job", "le"}
        used = re.findall(r"(\w+) ?(?:=~|!~|!=|=)\"", expression)
        used += [
            label for group in re.findall(r"(?:by|without|on) ?\(([^)]*)\)", expression) for label in group.split(",")
        ]
        assert {label.strip() for label in used} <= labels, expression
        found |= names
    assert len(found) > 25


def test_examples_name_reasons_and_states_that_there_are() -> None:
    reasons = set(re.findall(r"__u64 (\w+);", (BPF_DIR / "maps.h").read_text())) | {"forwarded"}
    actions = {"forwarded", "passed", "answered", "dropped"}
    for expression in asked_for():
        for label, known in (("reason", reasons), ("state", {str(s) for s in State}), ("action", actions)):
            for values in re.findall(rf'\b{label}(?:=~|!~|!=|=)"([^"$]*)"', expression):
                assert {value for value in values.split("|") if not value.endswith(".*")} <= known, expression


@pytest.mark.slow
def test_promtool_takes_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", EXAMPLES / "alerts.yaml")


@pytest.mark.slow
def test_rules_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", ROOT / "tests/docs/alerts.yaml")


def test_the_dashboard_is_whole() -> None:
    board = json.loads((EXAMPLES / "grafana.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["targets"] and panel["title"] and panel["description"] for panel in panels)
    spots = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(set(spots)) == len(spots)
