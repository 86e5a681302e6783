"""Connections are bounded for each owner, and an idle one goes first."""

from __future__ import annotations

import asyncio

from xdplb.admin import connections
from xdplb.admin.connections import OF_ONE, Connections


def test_one_owner_takes_nothing_from_another() -> None:
    async def run() -> None:
        open_ones = Connections()
        places = [open_ones.admit("a") for _ in range(OF_ONE)]
        assert None not in places
        assert open_ones.admit("a") is None  # all of them are busy
        assert open_ones.admit("b") is not None
        places[3].rest()  # type: ignore[union-attr]
        assert open_ones.admit("a") is not None  # in the place of the idle one
        assert open_ones.admit("a") is None
        open_ones.forget(places[0])  # type: ignore[arg-type]
        assert open_ones.admit("a") is not None
        assert len(open_ones) == OF_ONE + 1

    asyncio.run(run())


def test_who_asks_nothing_is_let_go_and_who_is_answered_is_not() -> None:
    class Transport(asyncio.Transport):
        ended = False

        def abort(self) -> None:
            self.ended = True

    async def run() -> list[bool]:
        found = []
        for busy in (False, True):
            place = connections.Connection("a", Transport())
            place.rest()
            assert place.waiting
            loop = asyncio.get_running_loop()
            assert 0 < place.waiting.when() - loop.time() <= connections.IDLE_S
            if busy:
                place.work()
                assert place.waiting is None
            else:
                place.waiting._run()  # what the loop does when the time is over
            assert isinstance(place.transport, Transport)
            found.append(place.transport.ended)
        return found

    assert asyncio.run(run()) == [True, False]
