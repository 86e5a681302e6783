"""All themes together."""

from __future__ import annotations

from dataclasses import replace

from tests.rig.boxes import NIC, box
from xdplb.doctor.facts import System
from xdplb.doctor.judge import judge


def test_all_themes_are_asked_and_errors_come_first() -> None:
    nic = replace(NIC, program_id=7, owner="main", features=frozenset({"rx-lro"}), ring=(64, 4096))
    patient = box(interfaces=(nic,), system=System(jit=0), running=None)
    assert [finding.check for finding in judge(patient)] == ["lro", "ring-small", "jit-off", "daemon-absent"]
