"""The daemon is woken when time alone changes what is desired, and not before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.rig.packets import BACKENDS4, config, hop, service
from xdplb.desired import DesiredService, Health, Overrides
from xdplb.health.watch import boot_time
from xdplb.schedule import Schedule

KEY = ("web", BACKENDS4[1].name)
HOPS = {b.address: hop(4) for b in BACKENDS4}
UP = {("web", b.name): Health(True, "fine") for b in BACKENDS4}


async def woken(prepare: Callable[[Schedule], Overrides]) -> tuple[Schedule, float]:
    """Make a desired state, set the alarm; return after how many seconds it rang."""
    rang = asyncio.Event()
    schedule = Schedule(config(service(slow_start_s=1.6)), rang.set)
    overrides = prepare(schedule)
    began = time.monotonic()
    schedule.set_alarm(overrides)
    await asyncio.wait_for(rang.wait(), 5)
    return schedule, time.monotonic() - began


def desire(schedule: Schedule, overrides: Overrides, before: tuple[DesiredService, ...] = ()) -> DesiredService:
    return schedule.desire(overrides, UP, HOPS, before)[0][0]


def test_a_deadline_wakes_and_then_the_flows_are_let_go() -> None:
    overrides = Overrides(draining={KEY}, deadlines={KEY: time.time() + 0.1})

    def prepare(schedule: Schedule) -> Overrides:
        assert "until" in desire(schedule, overrides).backends[1].reason
        return overrides

    schedule, after = asyncio.run(woken(prepare))

    assert after >= 0.05
    assert "its deadline has passed" in desire(schedule, overrides).backends[1].reason


def test_a_deadline_that_passed_while_the_tables_were_written_wakes_at_once() -> None:
    overrides = Overrides(draining={KEY}, removing={KEY: time.time() + 0.05})

    def prepare(schedule: Schedule) -> Overrides:
        desire(schedule, overrides)
        while time.time() < overrides.removing[KEY]:
            pass
        return overrides

    assert asyncio.run(woken(prepare))[1] < 1


def test_every_step_of_a_slow_start_wakes() -> None:
    def prepare(schedule: Schedule) -> Overrides:
        down = schedule.desire(Overrides(), UP | {KEY: Health(False, "")}, HOPS, ())[0]
        assert [b.share for b in desire(schedule, Overrides(), down).backends] == [1, 1 / 16, 1]
        return Overrides()

    schedule, after = asyncio.run(woken(prepare))

    assert 0.05 <= after < 1
    before = schedule.ramps.began
    assert desire(schedule, Overrides()).backends[1].share >= 2 / 16
    assert schedule.ramps.began is before  # the very dict that is saved


def test_what_a_restart_knows_of_a_slow_start_goes_on() -> None:
    schedule = Schedule(config(service(slow_start_s=1000)), lambda: None)
    schedule.ramps.began = {KEY: boot_time() - 500}
    assert desire(schedule, Overrides()).backends[1].share == 9 / 16
