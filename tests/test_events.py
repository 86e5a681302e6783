"""What happens to backends is told once, with its cause, and can be followed."""

from __future__ import annotations

import asyncio

from tests.rig.packets import BACKENDS4, config, service
from xdplb.desired import DesiredService, Health, Hop, Overrides, desire
from xdplb.events import KEPT, Events
from xdplb.model import Check

HOPS = {BACKENDS4[0].address: Hop(0, bytes(6), bytes(6), BACKENDS4[1].address)}
CONFIG = config(service(backends=BACKENDS4[:1], checks=(Check(80),)))
KEY = ("web", BACKENDS4[0].name)


def state(up: bool | None, cause: str = "refused") -> tuple[DesiredService, ...]:
    return desire(CONFIG, Overrides(), {KEY: Health(up, cause)}, HOPS)


def test_a_change_of_state_is_an_event_with_its_cause() -> None:
    events = Events()
    assert [str(event) for event in events.follow((), state(None, ""))] == [f"web/{KEY[1]} is checking: "]
    (down,) = events.follow(state(None), state(False))
    assert (down.number, down.was, down.state, down.cause) == (2, "checking", "down", "refused")
    assert str(down) == f"web/{KEY[1]} is down: refused"
    assert events.follow(state(False), state(False, "timed out")) == []
    assert events.totals == {"checking": 1, "down": 1}
    (gone,) = events.follow(state(False), ())
    assert (str(gone), gone.document()["state"]) == (f"web/{KEY[1]} is gone", None)


def test_who_follows_gets_what_is_new_and_the_last_ones_are_kept() -> None:
    async def scene() -> None:
        events = Events()
        waiting = asyncio.create_task(events.news.wait())
        await asyncio.sleep(0)
        for _ in range(KEPT):
            events.follow((), state(True))
        await asyncio.wait_for(waiting, 1)
        events.follow((), state(False))
        assert [event.number for event in events.after(0)][:1] == [2]
        assert [event.number for event in events.after(KEPT)] == [KEPT + 1]
        assert len(events.after(10 * KEPT)) == KEPT  # a number of a daemon that lived before

    asyncio.run(scene())


def test_what_was_done_is_told_beside_what_became_of_it() -> None:
    async def run() -> None:
        events = Events(5)
        news = events.news
        drained = events.tell("drain", "drained", "web", "b1", "mary")
        applied = events.tell("apply", "3 services changed")
        assert news.is_set()
        assert events.after(5) == [drained, applied]
        assert str(drained) == "drain web/b1: drained (by mary)"
        assert str(applied) == "apply: 3 services changed"
        document = applied.document()
        assert (document["kind"], document["who"], document["service"], document["state"]) == (
            "apply",
            None,
            None,
            None,
        )

    asyncio.run(run())
