"""A slow start: who has one, how its share grows, and that time alone moves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.rig.packets import BACKENDS4, config, hop, service
from xdplb.desired import DesiredService, Health, Overrides, desire
from xdplb.model import Backend
from xdplb.slow_start import Ramps

ONE, TWO, THREE = (b.name for b in BACKENDS4)
LATE = ("web", TWO)


def state(
    down: tuple[str, ...] = (), checking: tuple[str, ...] = (), drained: tuple[str, ...] = (), without: str = ""
) -> tuple[DesiredService, ...]:
    """One service with three backends, in these states."""
    backends = [b for b in BACKENDS4 if b.name != without]
    health = {("web", b.name): Health(b.name not in down, "") for b in backends if b.name not in checking}
    overrides = Overrides(draining={("web", name) for name in drained})
    return desire(config(service(backends=backends)), overrides, health, {b.address: hop(4) for b in backends})


def follow(*states: tuple[DesiredService, ...]) -> Ramps:
    """What comes of a history, a second a step, from the daemon's start on."""
    ramps, before = Ramps({"web": 32.0}), ()
    for now, after in enumerate(states):
        ramps.follow(before, after, float(now))
        before = after  # type: ignore[assignment]
    return ramps


@pytest.mark.parametrize(
    "before",
    [state(down=(TWO,)), state(checking=(TWO,)), state(drained=(TWO,)), state(without=TWO)],
    ids=["down", "checking", "draining", "not there"],
)
def test_whoever_comes_up_or_is_added_starts_slowly(before: tuple[DesiredService, ...]) -> None:
    ramps = follow(state(), before, state())
    assert ramps.began == {LATE: 2.0}
    assert ramps.shares(2.0) == {LATE: 1 / 16}


def test_the_share_grows_in_sixteen_equal_steps_and_then_it_is_over() -> None:
    ramps = follow(state(), state(down=(TWO,)), state())
    steps = [2.0]
    while len(steps) < 16:
        steps.append(ramps.next_step(steps[-1]) or 0)

    assert steps == [2.0 + 2 * n for n in range(16)]
    assert [ramps.shares(at)[LATE] for at in steps] == [n / 16 for n in range(1, 17)]
    assert ramps.shares(3.9) == {LATE: 1 / 16}
    assert not ramps.follow(state(), state(), 31.9)
    assert ramps.follow(state(), state(), 32.0)
    assert (ramps.began, ramps.next_step(32.0)) == ({}, None)


def test_nobody_starts_slowly_with_the_daemon() -> None:
    assert follow(state()).began == {}
    assert follow(state(checking=(TWO,)), state(checking=(TWO,)), state()).began == {}  # its first probe took longer


def test_whose_first_probe_failed_starts_slowly_later() -> None:
    assert follow(state(checking=(TWO,)), state(down=(TWO,)), state()).began == {LATE: 2.0}


def test_where_nobody_else_is_up_in_full_there_is_no_slow_start() -> None:
    assert follow(state(), state(down=(ONE, TWO, THREE)), state(down=(ONE, THREE))).began == {}
    assert follow(state(), state(down=(ONE, TWO, THREE)), state(down=(THREE,))).began == {}
    both = follow(state(), state(down=(ONE, TWO)), state())
    assert both.began == {("web", ONE): 2.0, LATE: 2.0}

    both.follow(state(), state(down=(THREE,)), 3.0)

    assert both.began == {}


def test_who_goes_down_again_starts_anew() -> None:
    assert follow(state(), state(down=(TWO,)), state(), state(down=(TWO,))).began == {}
    assert follow(state(), state(down=(TWO,)), state(), state(down=(TWO,)), state()).began == {LATE: 4.0}


def test_a_weight_that_was_0_is_no_recovery_and_a_service_without_it_has_none() -> None:
    idle = service(backends=[BACKENDS4[0], Backend(TWO, BACKENDS4[1].address, 0)], checks=())
    hops = {b.address: hop(4) for b in BACKENDS4}
    before = desire(config(idle), Overrides(), {}, hops)
    after = desire(config(replace(idle, backends=tuple(BACKENDS4[:2]))), Overrides(), {}, hops)
    assert follow(before, after).began == {}
    ramps = Ramps({})
    ramps.follow((), state(), 0.0)
    assert not ramps.follow(state(down=(TWO,)), state(), 1.0)


def test_a_slow_start_goes_on_after_a_restart_and_ends_if_its_service_has_none_any_more() -> None:
    ramps = Ramps({"web": 32.0}, {LATE: 100.0, ("api", "x"): 100.0})
    ramps.follow((), state(), 116.0)
    assert ramps.shares(116.0) == {LATE: 9 / 16}
    gone = Ramps({"web": 32.0}, {LATE: 100.0})
    gone.follow((), state(down=(TWO,)), 101.0)
    assert gone.began == {}
    removed = Ramps({"web": 32.0}, {("web", "removed meanwhile"): 100.0})
    removed.follow((), state(), 101.0)
    assert removed.began == {}
