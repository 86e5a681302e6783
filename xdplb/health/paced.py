"""Read datagrams of a socket at a bounded rate, however many come: a flood costs little, and is lost in the kernel.

The first one after a pause is read at once. What comes in the pause waits, or finds the socket's small buffer full.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

PAUSE_S = 0.02  # after each time
AT_ONCE = 8  # datagrams: 400 a second at the most
_BUFFER_BYTES = 32768
_LONGEST = 2048


class Paced:
    """A socket that is read as long as it is open."""

    def __init__(self, opened: socket.socket, take: Callable[[bytes, Any], None]) -> None:
        """`take` is called in the event loop, with a datagram and where it came from."""
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self.socket, self._take = opened, take
        self._loop = asyncio.get_running_loop()
        self._resuming: asyncio.TimerHandle | None = None
        self._resume()

    def close(self) -> None:
        """Read no more."""
        if self._resuming:
            self._resuming.cancel()
        self._loop.remove_reader(self.socket)
        self.socket.close()

    def _resume(self) -> None:
        self._loop.add_reader(self.socket, self._read)

    def _read(self) -> None:
        self._loop.remove_reader(self.socket)
        self._resuming = self._loop.call_later(PAUSE_S, self._resume)
        with contextlib.suppress(OSError):  # BlockingIOError: that was all
            for _ in range(AT_ONCE):
                self._take(*self.socket.recvfrom(_LONGEST))
