"""The bench's pieces: every turn encapsulates, or there is no result."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tools.bench.driver import NotProven, drivers
from tools.bench.inspection import inspect
from tools.bench.measure import Results
from tools.bench.subjects import frame, subjects
from xdplb.dataplane.loader import Place


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place(f"test-bench-{os.getpid()}")
    place.make()
    yield place
    place.remove()


def test_every_turn_is_proven_to_encapsulate(place: Place) -> None:
    with drivers(place) as driver, subjects(place, copies=1) as (stubs, measured):
        for subject in [*stubs.values(), *measured]:
            sent = frame(subject.family, syn=False)
            assert driver[subject.family].time(subject.fds[0], sent, 100, 1000, subject.grows) > 0
            with pytest.raises(NotProven):
                driver[subject.family].time(subject.fds[0], sent, 100, 1000, subject.grows + 1)
        calls = {subject.name: inspect(subject.fds[0]).calls for subject in measured}
    assert calls["floor2"] == {"bpf_xdp_adjust_head": 1}
    assert calls["IPv4"]["bpf_xdp_adjust_head"] == 1


def test_disturbed_measurements_are_left_out() -> None:
    results = Results({"x": 4})
    for ns, stub in ((30.0, 10.0), (31.0, 10.0), (90.0, 25.0)):
        results.add("x", "1 flow", ns, stub, stub)
    assert sorted(results.quiet("x", "1 flow")) == [20.0, 21.0]
    assert results.net_ns("x", "1 flow") == 20.5
