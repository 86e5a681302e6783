"""What the judge says of reports, and which sources the layout upgrade starts from; no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.consistency.judge import judge
from tools.consistency.scenarios import SCENARIOS
from tools.consistency.trial import Scenario, other_layout
from xdplb.contract import BPF_DIR
from xdplb.dataplane.source import fingerprint, join

COUNTS = {"opened": 3, "answers": 9, "retransmits": 1}
TOTAL = {
    "total": True,
    "seconds": 10.0,
    "cpu_s": 2.0,
    "held": {"p99_ms": 2.0, "slowest_ms": 300.0, "backends": {"b1": COUNTS}},
    "new": {"p99_ms": 1.0, "slowest_ms": 4.0, "backends": {"b1": COUNTS, "b2": COUNTS}},
}


def event(what: str, backend: str = "b1", **more: Any) -> dict[str, Any]:
    return {
        "event": what, "kind": "reset", "at": 100.0, "flow": "held", "backend": backend,
        "source": "10.0.1.2", "took_ms": 1.0, "retransmits": 0, **more,
    }  # fmt: skip


def report(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"events": list(events[:1])}, {"events": list(events[1:])}, TOTAL]


def test_a_quiet_report_is_added_up() -> None:
    found = judge(report(), {})

    assert found.faults() == []
    assert (found.opened, found.answers, found.retransmits) == (9, 27, 3)
    assert (found.p99_ms, found.slowest_ms, found.cpu_share) == (2.0, 300.0, 0.2)


@pytest.mark.parametrize(
    ("met", "fault"),
    [
        (event("failure"), "broken: 1, as reset of a held flow of b1"),
        (event("failure", backend="?"), "broken: 1"),
        (event("change", before="b2"), "another backend: 1"),
        (event("slow", retransmits=1), "stalled: 1"),
    ],
)
def test_what_a_live_backends_flow_meets_is_a_fault(met: dict[str, Any], fault: str) -> None:
    faults = judge(report(met), {"b2": [100.0]} if met["backend"] != "?" else {}).faults()

    assert len(faults) == 1
    assert faults[0].startswith(fault)


@pytest.mark.parametrize(
    "met",
    [
        event("failure", backend="b2"),
        event("failure", backend="?", at=100.5),
        event("slow", backend="b2", retransmits=1),
    ],
)
def test_a_flow_of_a_backend_that_was_down_is_not_judged(met: dict[str, Any]) -> None:
    found = judge(report(met), {"b2": [100.0]})

    assert found.faults() == []
    assert found.lost == (met["event"] == "failure")


def test_an_unknown_backends_flow_is_judged_at_other_times() -> None:
    assert judge(report(event("failure", backend="?", at=105.0)), {"b2": [100.0]}).broken


def test_a_slow_answer_without_a_lost_packet_is_only_counted() -> None:
    found = judge(report(event("slow"), event("slow")), {})

    assert (found.slow, found.faults()) == (2, [])


def test_a_report_that_was_cut_off_is_no_result() -> None:
    with pytest.raises(ValueError, match="no end"):
        judge(report()[:-1], {})


def test_a_scenario_in_which_nothing_moved_proves_nothing() -> None:
    quiet, broken = judge(report(), {}), judge(report(event("failure")), {})
    strict, control, counted = (Scenario("x", print, breaks=breaks) for breaks in (False, True, None))

    assert strict.faults(quiet, moving=0)
    assert not strict.faults(quiet, moving=1)
    assert strict.faults(broken, moving=1)
    assert control.faults(quiet, moving=0)
    assert not control.faults(broken, moving=0)
    assert not counted.faults(broken, moving=1)


def test_a_cut_wire_excuses_stalls_and_nothing_else() -> None:
    scenario = Scenario("x", print, twin=True)

    assert not scenario.faults(judge(report(event("slow", retransmits=1)), {}), moving=1)
    assert scenario.faults(judge(report(event("failure")), {}), moving=1)


def test_names_of_scenarios_are_apart() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


def test_other_layout_differs_in_one_field_of_the_contract(tmp_path: Path) -> None:
    copy = other_layout(BPF_DIR, tmp_path)

    before, after = ((where / "maps.h").read_text().splitlines() for where in (BPF_DIR, copy))
    (added,) = [line for line in after if line not in before]
    assert "dropped_tomorrow" in added
    assert after[after.index(added) + 1] == "};"
    fields = after[after.index("struct verdicts {") : after.index(added)]
    assert not [line for line in fields if line == "};"]
    assert fingerprint(join(copy / "maps.h"), {}) != fingerprint(join(BPF_DIR / "maps.h"), {})
