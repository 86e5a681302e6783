"""Plain TCP connections to thousands of places a second: what `tcp.ask` does, without a task for each.

A task with a timeout costs more than the connection itself. Here a try is a socket in an epoll of our own, which the
event loop watches as long as few are under way; when many are, it is looked at every few milliseconds instead, since
being woken for each of them would cost more than all the rest.

Without quick acknowledgements, the kernel waits with the handshake's last packet, and the reset comes first: so the
server's program is not woken for each probe, and a packet is saved. A server whose queue of connections is full does
not answer.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from xdplb.health.check import ProbeEnded
from xdplb.health.probe import OWN_TROUBLE, Target, phrase
from xdplb.health.sockets import disconnect, make_socket

LOOK_S = 0.003  # how often is looked when many are under way
SPARE = 512  # sockets of one kind that are kept for the next tries
MANY, FEW = 48, 16  # from here on so, until there are so few again

_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES}
_ESTABLISHED, _SYN_SENT = 1, 2  # include/net/tcp_states.h
_RTT = slice(68, 72)  # `tcpi_rtt` of struct tcp_info, in us (include/uapi/linux/tcp.h)

_Whose = TypeVar("_Whose")
_Like: TypeAlias = tuple[int, bool, int]
Ended: TypeAlias = ProbeEnded | OSError  # the latter: this host could not try


@dataclass(slots=True, eq=False)
class _Try(Generic[_Whose]):
    socket: socket.socket
    target: Target
    began: float
    timeout_s: float
    whose: _Whose
    over: bool = False


class Connector(Generic[_Whose]):
    """Tries to connect; each ends with exactly one call of `done`, in the event loop and never at once."""

    def __init__(self, done: Callable[[_Whose, Ended], None]) -> None:
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._tries: dict[int, _Try[_Whose]] = {}  # by descriptor
        self._deadlines: list[tuple[float, int, _Try[_Whose]]] = []
        self._spare: dict[_Like, list[socket.socket]] = {}
        self._unseen: list[_Try[_Whose]] = []  # begun while nobody watches, and not looked at yet
        self._number = 0
        self._watched = True
        self._alarm: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._look)

    def __len__(self) -> int:
        return len(self._tries)

    def start(self, target: Target, timeout_s: float, whose: _Whose) -> int:
        """Begin a try; returns its number. Raises OSError when this host has no socket for it."""
        spare = self._spare.get(_like(target))
        opened = spare.pop() if spare else make_socket(target, socket.SOCK_STREAM)
        if spare is not None and target.mark:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, target.mark)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        code = opened.connect_ex((target.host, target.port))
        now, number = self._loop.time(), opened.fileno()
        made = self._tries[number] = _Try(opened, target, now, timeout_s, whose)
        if code not in (0, errno.EINPROGRESS):
            self._loop.call_soon(self._refuse, number, made, code)
        elif self._watched:
            self._arm(number)
        else:
            self._unseen.append(made)
        self._number += 1
        heapq.heappush(self._deadlines, (now + timeout_s, self._number, made))
        if self._watched or self._alarm is None:
            self._watch()
        return number

    def call_off(self, number: int, whose: _Whose) -> None:
        """Forget a try, if it is under way still."""
        made = self._tries.get(number)
        if made is not None and made.whose is whose:
            del self._tries[number]
            made.over = True
            made.socket.close()

    def close(self) -> None:
        """Call off all tries."""
        for made in self._tries.values():
            made.socket.close()
        for spare in (opened for sockets in self._spare.values() for opened in sockets):
            spare.close()
        self._tries.clear()
        self._spare.clear()
        self._unseen.clear()
        self._deadlines.clear()
        if self._alarm:
            self._alarm.cancel()
        if self._watched:
            self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _watch(self) -> None:
        """Be woken by the epoll, or by the clock when many are under way; by the clock for deadlines anyway."""
        if self._watched and len(self._tries) > MANY:
            self._watched = False
            self._loop.remove_reader(self._epoll.fileno())
        elif not self._watched and len(self._tries) < FEW:
            self._watched = True
            self._loop.add_reader(self._epoll.fileno(), self._look)
        if not self._tries:
            return
        now = self._loop.time()
        at = max(self._deadlines[0][0], now) if self._watched else now + LOOK_S
        if self._alarm is None or self._alarm.when() > at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._look()

    def _look(self) -> None:
        unseen, self._unseen = self._unseen, []
        for begun in unseen:
            if not begun.over:
                self._see(begun)
        for number, _ in self._epoll.poll(0):
            made = self._tries.pop(number, None)
            if made is not None:
                self._end(made, made.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.stop))
        now = self._loop.time()
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].over):
            made = heapq.heappop(self._deadlines)[2]
            if not made.over:
                del self._tries[made.socket.fileno()]
                self._finish(made, errno.ETIMEDOUT)
        self._watch()

    def _refuse(self, number: int, made: _Try[_Whose], code: int) -> None:
        if self._tries.get(number) is made:
            del self._tries[number]
            own = code in _NO_WAY  # said at once, so by this host's own routes
            self._finish(made, errno.EADDRNOTAVAIL if own and made.target.mark else code)

    def _see(self, made: _Try[_Whose]) -> None:
        """Look for the first time at a try that began while many were under way: most are through by then."""
        number = made.socket.fileno()
        told = made.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.stop)
        if told[0] == _SYN_SENT:
            self._arm(number)
        else:
            del self._tries[number]
            self._end(made, told)

    def _end(self, made: _Try[_Whose], told: bytes) -> None:
        """End a try of which the kernel says this (struct tcp_info)."""
        made.over = True
        if told[0] == _ESTABLISHED:  # the kernel also says how long it took, whenever we look
            self._put_by(made)
            took_ms = int.from_bytes(told[_RTT], "little") / 1e3
            self._done(made.whose, ProbeEnded(True, f"tcp {made.target.text}: connected in {took_ms:.1f} ms"))
        else:
            self._finish(made, made.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET)

    def _arm(self, number: int) -> None:
        """Hear once of a socket. One that was used before is still known to the epoll."""
        try:
            self._epoll.register(number, select.EPOLLOUT | select.EPOLLONESHOT)
        except FileExistsError:
            self._epoll.modify(number, select.EPOLLOUT | select.EPOLLONESHOT)

    def _put_by(self, made: _Try[_Whose]) -> None:
        """Reset a connection, and keep its socket for the next try of its like."""
        spare = self._spare.setdefault(_like(made.target), [])
        if len(spare) < SPARE and len(self._spare) < SPARE and disconnect(made.socket):
            spare.append(made.socket)
        else:
            made.socket.close()

    def _finish(self, made: _Try[_Whose], code: int) -> None:
        """End a try that did not lead to a connection."""
        made.over = True
        made.socket.close()
        if code in OWN_TROUBLE:
            self._done(made.whose, OSError(code, errno.errorcode.get(code, "")))
        elif code == errno.ETIMEDOUT:
            late = f"a connection did not come within {made.timeout_s:g} s"
            self._done(made.whose, ProbeEnded(False, f"tcp {made.target}: {late}"))
        else:
            self._done(made.whose, ProbeEnded(False, f"tcp {made.target}: {phrase(OSError(code, ''))}"))


def _like(target: Target) -> _Like:
    """Return what sockets must have in common for one to be used for the other."""
    return target.address.version, target.mark != 0, target.packet_bytes
