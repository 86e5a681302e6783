"""The connections that are open: bounded for each owner, and who asks nothing is let go.

An owner is a user or, on TCP, an address: one that opens thousands takes nothing away from the others.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle, Transport
from collections.abc import Hashable
from dataclasses import dataclass

OF_ONE = 64  # connections of one owner
IDLE_S = 30.0  # without a whole request's head


@dataclass(slots=True, eq=False)
class Connection:
    """One of them. `waiting`: ends it, unless a request comes; None while one is answered."""

    owner: Hashable
    transport: Transport | None = None
    waiting: TimerHandle | None = None

    def rest(self) -> None:
        """Wait for a request, but not for ever."""
        self.work()
        self.waiting = asyncio.get_running_loop().call_later(IDLE_S, self.end)

    def work(self) -> None:
        """A request is being answered: wait for nothing."""
        if self.waiting:
            self.waiting.cancel()
            self.waiting = None

    def end(self) -> None:
        """Let it go without a word."""
        if self.transport:
            self.transport.abort()


class Connections:
    """All of them."""

    def __init__(self) -> None:
        self._open: dict[Hashable, list[Connection]] = {}  # the oldest first

    def admit(self, owner: Hashable) -> Connection | None:
        """Return a place for one more, for which an idle one of the same owner goes if need be; or None."""
        own = self._open.setdefault(owner, [])
        if len(own) >= OF_ONE:
            idle = next((one for one in own if one.waiting), None)
            if idle is None:
                return None
            idle.end()
            self.forget(idle)
        place = Connection(owner)
        self._open.setdefault(owner, []).append(place)
        return place

    def forget(self, place: Connection) -> None:
        """One has ended."""
        place.work()
        own = self._open.get(place.owner, [])
        if place in own:
            own.remove(place)
        if not own:
            self._open.pop(place.owner, None)

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))
