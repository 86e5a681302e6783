"""The bench's pieces: every turn encapsulates, or there is no result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tools.bench.compare import Times, gather, lines
from tools.bench.driver import NotProven, drivers
from tools.bench.inspection import inspect
from tools.bench.measure import Results
from tools.bench.subjects import frame, subjects
from xdplb.dataplane.loader import Place

FEW = "in IPv"  # the usual way, of both families; `make bench` proves all of them


@pytest.fixture
def places() -> Iterator[Callable[[str], Place]]:
    made: list[Place] = []

    def place(name: str) -> Place:
        made.append(Place(f"test-bench-{os.getpid()}-{name}"))
        made[-1].make()
        return made[-1]

    yield place
    for each in made:
        each.remove()


@pytest.mark.root
def test_every_turn_is_proven_to_do_what_it_is_timed_for(places: Callable[[str], Place]) -> None:
    with drivers(places("driver")) as driver, subjects(places, 1, FEW) as (stubs, measured):
        for subject in [*stubs.values(), *measured]:
            sent, fd = frame(subject.family, syn=False), subject.fds[0]
            action, vips = subject.action, subject.vips
            assert driver[subject.family].time(fd, sent, 100, 1000, subject.grows, action, vips) > 0
            for grows, wanted in ((subject.grows + 1, action), (subject.grows, action + 1)):
                with pytest.raises(NotProven):
                    driver[subject.family].time(fd, sent, 100, 1000, grows, wanted, vips)
        calls = {subject.name: inspect(subject.fds[0]).calls for subject in measured}
    assert calls["floor2"] == {"bpf_xdp_adjust_head": 1}
    assert calls["IPv4 in IPv4"]["bpf_xdp_adjust_head"] == 1


def test_revisions_are_compared_where_both_have_a_number() -> None:
    then, now = Times(), Times()
    gather({"IPv4": {"1 flow": {"multiple": 2.0}}, "old": {"1 flow": {"multiple": 1.0}}}, then)
    for multiple in (2.1, 2.3, 2.2):
        gather({"IPv4": {"1 flow": {"multiple": multiple}}, "new": {"1 flow": {"multiple": 9.0}}}, now)

    table = list(lines("v1", then, now))

    assert [line.split() for line in table[1:-1]] == [["IPv4", "1", "flow", "2.00", "2.20", "+10.0%"]]
    assert table[-1] == "not there: new"


def test_disturbed_measurements_are_left_out() -> None:
    results = Results({"x": 4})
    for ns, stub in ((30.0, 10.0), (31.0, 10.0), (90.0, 25.0)):
        results.add("x", "1 flow", ns, stub, stub)
    assert sorted(results.quiet("x", "1 flow")) == [20.0, 21.0]
    assert results.net_ns("x", "1 flow") == 20.5
