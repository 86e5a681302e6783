"""The demo's judgement: what makes its exit status, on made-up numbers that are right and then wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools.demo import Count, Demo, Phase, checks, failures

HOSTS = ["b1", "b2", "b3", "b4"]


def equal(names: list[str], each: int) -> dict[str, int]:
    return dict.fromkeys(names, each)


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """A demo in which everything went well."""
    stand = SimpleNamespace(lab=SimpleNamespace(backends=HOSTS))
    told = Demo(stand, tmp_path)  # type: ignore[arg-type]
    three, four = equal(HOSTS[:3], 5000), equal(HOSTS, 9000)
    told.phases = [
        Phase("three backends", 100.0, equal(HOSTS[:3], 0)),
        Phase("b2 killed", 110.0, three),
        Phase("b2 down", 111.0, three),
        Phase("four backends", 120.0, equal(HOSTS, 0)),
        Phase("daemon dead", 130.0, four),
    ]
    none = {"passed_no_service": 1}
    told.facts = {
        "before": Count(10, 10, 0, none, equal(HOSTS[:3], 0), {}),
        "after": Count(1010, 1010, 999, {"passed_no_service": 2}, equal(HOSTS, 50), {}),
        "decapped": {**equal(HOSTS, 50), "b1": 57},
        "probes": 7,
        "nic_errors": 0,
        "restart": {"writes": 0},
        "ns": (1000, 100.0),
    }
    write(told, [])
    return told


def write(demo: Demo, failed: list[dict[str, Any]], requests: int = 30_000) -> None:
    lines: list[dict[str, Any]] = [{"failures": failed}]
    lines.append({"total": True, "requests": requests, "failures": {}, "backends": equal(HOSTS, 1)})
    demo.report.write_text("".join(json.dumps(line) + "\n" for line in lines))


def wrong(demo: Demo) -> list[str]:
    return [what for what, _, right in checks(demo) if not right]


def test_all_is_well(demo: Demo) -> None:
    assert wrong(demo) == []


def test_failures_count_by_the_time_at_which_the_request_began(demo: Demo) -> None:
    refused, early = {"at": 110.5, "kind": "refused"}, {"at": 112.0, "kind": "timeout"}
    write(demo, [refused, early, {"at": 111.5, "kind": "reset"}])
    assert {name: len(found) for name, found in failures(demo).items() if found} == {"b2 killed": 2, "b2 down": 1}
    assert wrong(demo) == ["failures outside the kill"]


def test_each_number_that_is_off_fails(demo: Demo) -> None:
    write(demo, [], requests=19_999)
    assert wrong(demo) == ["requests"]
    write(demo, [])
    demo.facts["after"] = replace(demo.facts["after"], forwarded=998)
    assert wrong(demo) == ["unaccounted for"]
    demo.facts["after"] = replace(demo.facts["after"], forwarded=999, sent=1011)
    assert wrong(demo) == ["packets received by the balancer"]
    demo.facts["after"] = replace(demo.facts["after"], sent=1010)
    demo.facts["probes"] = 6
    assert wrong(demo) == ["backends' own count"]
    demo.facts["probes"] = 7
    demo.facts["restart"] = {"writes": 1}
    assert wrong(demo) == ["entries written by the restarted daemon"]
    demo.facts["restart"] = {"writes": 0}
    demo.phases[1].connections["b1"] = 5600
    assert wrong(demo) == ["shares, three backends"]
