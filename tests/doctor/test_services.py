"""Why a backend is down, by its checks and a direct question; services that nobody serves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rig.boxes import B1, BACKENDS, CHECK, box, only, running
from xdplb.doctor.services import judge

LATE = {**CHECK, "up": False, "cause": "192.0.2.10:80: a connection did not come within 1 s"}
REFUSED = {**CHECK, "up": False, "cause": "192.0.2.10:80 refused"}
FAILED = {**CHECK, "up": False, "cause": "status 503"}


def down(*checks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**BACKENDS[0], "state": "down", "serving": False, "checks": list(checks), **fields}


def test_nothing_is_said_of_who_is_up() -> None:
    assert list(judge(box())) == []
    assert list(judge(box(running=None))) == []


@pytest.mark.parametrize(
    ("checks", "direct", "check"),
    [
        ((LATE,), "", "backend-tunnel"),
        ((LATE,), "refused", "backend-tunnel"),  # the host lives
        ((LATE, {**CHECK, "through": "direct"}), "nobody answers", "backend-tunnel"),
        ((LATE,), "nobody answers", "backend-silent"),
        ((LATE, {**LATE, "through": "direct"}), "nobody answers", "backend-silent"),
        ((LATE,), None, "backend-down"),  # it was not asked
        ((REFUSED,), "refused", "backend-refuses"),
        ((FAILED,), "", "backend-down"),
    ],
)
def test_a_failure_is_told_by_its_cause(checks: Any, direct: str | None, check: str) -> None:
    asked = {} if direct is None else {B1: direct}
    finding = only(judge(box(running=running(down(*checks), BACKENDS[1], direct=asked))))
    assert finding.check == check
    assert finding.fixes
    assert (finding.where == "b1") == (check in ("backend-tunnel", "backend-refuses"))


def test_an_agent_or_a_vip_that_is_missing_is_mended_on_the_backend() -> None:
    finding = only(judge(box(running=running(down(LATE), BACKENDS[1], direct={B1: ""}))))
    assert finding.fixes == (
        "xdplb decap status",
        "ip addr add 192.0.2.10/32 dev lo",
        "xdplb decap run --interface eth0 --from 10.0.2.2",
    )


def test_many_failures_of_one_kind_are_one_finding() -> None:
    backends = [{**down(FAILED), "name": f"b{n}"} for n in range(40)]
    assert [f.check for f in judge(box(running=running(*backends, BACKENDS[1])))] == ["backend-down"]
    (finding,) = judge(box(running=running(*backends, BACKENDS[1])))
    assert finding.seen.startswith("40 backends of web: b0 (10.0.11.2)")


@pytest.mark.parametrize(
    ("backends", "check", "fix"),
    [
        ([{"state": "idle", "weight": 0}], "service-idle", "xdplb backend weight b1 100 --service web"),
        ([{"state": "draining"}], "service-idle", "xdplb backend undrain b1 --service web"),
        ([{"state": "checking"}, {"state": "draining"}], "service-down", "xdplb check b1"),
        ([{"state": "down", "serving": True}, {}], "service-panic", "xdplb events"),
        ([{"state": "down"}, {"name": "other/b9", "fallback": "other"}], "service-fallback", "xdplb status"),
    ],
)
def test_a_service_that_is_not_served_as_it_should_be(backends: list[Any], check: str, fix: str) -> None:
    made = [{**BACKENDS[0], "serving": b.get("state", "up") == "up", **b} for b in backends]
    found = {finding.check: finding for finding in judge(box(running=running(*made)))}
    assert any(fix in command for command in found[check].fixes)


def test_services_whose_decap_nobody_checks() -> None:
    blind = {**CHECK, "through": "direct"}
    patient = running(*({**b, "checks": [blind]} for b in BACKENDS))
    assert only(judge(box(running=patient))).check == "tunnel-unchecked"
    assert list(judge(box(service='forward = "l2"', running=patient))) == []


def test_what_a_check_that_passes_warns_of_is_told_once() -> None:
    doubtful = [{**CHECK, "warning": "the certificate ends in 3 days"}]
    patient = running(*({**b, "checks": doubtful} for b in BACKENDS))
    assert only(judge(box(running=patient))).seen == "web/b1, web/b2: the certificate ends in 3 days"
