"""What is told of a packet is what becomes of it: a small part of `python -m tools.explain_check`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import pytest

from tests.rig.packets import config, service, tcp
from tests.rig.xdp import Xdp
from tools.explain_check import Check, Report
from tools.fuzz.configs import case_of

CASES, PACKETS = 6, 60


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Counters and budgets of answers are those of one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_cpu")
def test_what_is_told_of_generated_packets_is_what_becomes_of_them(full: Xdp) -> None:
    report = Report()
    check = Check(full, report)
    for number in range(CASES):
        rng = Random(f"explain {number}")
        check.try_case(case_of(full.kernel.spec, rng), PACKETS, rng)
    check.close()
    full.put_devices([0])

    assert report.differences == []
    assert report.packets >= CASES * PACKETS * 0.7
    assert {"forwarded", "passed_no_service", "dropped_no_backend", "answered_echo", "passed_icmp"} <= set(report.met)
    assert {"settled, ring", "moving, previous backend"} <= set(report.whys)


@pytest.mark.usefixtures("one_cpu")
def test_what_does_not_agree_is_found(xdp: Xdp) -> None:
    xdp.serve(config(service()))
    check = Check(xdp, Report())
    right, told = check._explain, bytes(tcp())
    check._explain = lambda frame: {**right(frame), "action": "pass"}  # type: ignore[method-assign]

    check.try_frame(told)
    check.close()

    assert check.report.differences[0].startswith("told pass, and it was tx; forwarded: ")
