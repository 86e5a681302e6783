"""What grows between two samples, and tables that are nearly full."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.rig.boxes import box, only
from xdplb.doctor.counters import _REASONS, growth, judge
from xdplb.doctor.facts import Sample, Table
from xdplb.doctor.finding import CHECKS

ROOT = Path(__file__).resolve().parents[2]


def verdicts(before: dict[str, int], after: dict[str, int]) -> dict[str, Any]:
    return {"before": Sample(before), "after": Sample(after)}


def test_only_what_grows_is_told() -> None:
    assert growth({"a": 1, "b": 2}, {"a": 1, "b": 5, "new": 7}) == {"b": 3}
    quiet = {"dropped_no_backend": 7, "passed_not_ip": 1}
    assert list(judge(box(**verdicts(quiet, {**quiet, "passed_not_ip": 99})))) == []


@pytest.mark.parametrize(
    ("reason", "check"),
    [
        ("dropped_no_backend", "packets-lost"),
        ("dropped_malformed", "packets-lost"),
        ("passed_vlan", "tags-arrive"),
        ("answered_too_big", "packets-answered"),
        ("dropped_blocked", "packets-refused"),
    ],
)
def test_a_reason_that_grows_is_told(reason: str, check: str) -> None:
    finding = only(judge(box(**verdicts({reason: 1}, {reason: 1001}))))
    assert (finding.check, finding.seen) == (check, f"{reason} grew by 1,000 in 0.5 s")
    assert finding.fixes
    assert "INTERFACE" not in "".join(finding.fixes)


def test_every_reason_is_one_and_every_drop_is_told() -> None:
    struct = re.search(r"struct verdicts \{(.*?)\};", (ROOT / "bpf/maps.h").read_text(), re.S)
    assert struct
    there = set(re.findall(r"__u64 (\w+);", struct[1]))
    assert _REASONS.keys() <= there
    assert {reason for reason in there if reason.startswith("dropped")} <= _REASONS.keys()
    assert {check for check, _ in _REASONS.values()} <= CHECKS.keys()


@pytest.mark.parametrize(
    ("counter", "check"),
    [
        ("rx_queue_0_xdp_tx_errors", "send-errors"),
        ("rx0_xdp_tx_full", "send-errors"),
        ("rx_missed_errors", "nic-drops"),
        ("rx_out_of_buffer", "nic-drops"),
    ],
)
def test_a_drivers_drops_are_told(counter: str, check: str) -> None:
    samples: dict[str, Any] = {
        name: Sample({}, {"eth0": {counter: n, "rx_packets": n}}) for name, n in (("before", 1), ("after", 5))
    }
    finding = only(judge(box(**samples)))
    assert finding.check == check
    assert "4" in finding.seen


def test_a_table_is_told_before_it_is_full() -> None:
    flows = Table("remembered flows", 950, 1000, "balancer.max_flows")
    assert only(judge(box(tables=(flows,)))).fixes == ("set balancer.max_flows = 2000",)
    for used, room in ((800, 1000), (0, 0)):
        assert list(judge(box(tables=(Table("x", used, room, "y"),)))) == []
