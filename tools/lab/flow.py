"""A client whose request has a time, and what TCP had to do for it. Like `Client`, it reads no clock."""

from __future__ import annotations

import select
import socket
import struct

from tools.lab.client import Client, State, Target
from tools.lab.outcome import UNKNOWN, Answer

FOR_EVER = 1 << 62  # requests on one connection
_TCP_INFO = struct.Struct("=8xI88xI")  # include/uapi/linux/tcp.h: tcpi_rto (us), tcpi_total_retrans


class Flow(Client):
    """A held flow, which asks again and again, or a new one, which asks once."""

    __slots__ = ("asked_at", "busy", "held", "renew", "resent", "retransmits", "rto_s", "served")

    def __init__(self, held: bool) -> None:
        super().__init__(FOR_EVER if held else 1)
        self.held, self.busy, self.renew = held, False, False
        self.asked_at = self.rto_s = 0.0
        self.served = ""  # by whom, so far
        self.resent = self.retransmits = 0  # packets, on this connection; since the request began

    @property
    def under_way(self) -> bool:
        """Something has to come still."""
        return self.state is not State.FREE and (self.busy or not self.held)

    @property
    def kind(self) -> str:
        """What the report calls it."""
        return "held" if self.held else "new"

    def open(self, target: Target, source: str, epoll: select.epoll, now: float, least_rto_s: float) -> None:
        """Connect and ask, instead of whatever connection there was.

        The RTO is that of a connection that stands: TCP's own for a SYN is a second (RFC 6298), and too kind here.
        """
        if self.state is not State.FREE:
            self.close()
        self.asked_at, self.rto_s, self.busy, self.renew = now, least_rto_s, True, False
        self.served, self.resent, self.retransmits = "", 0, 0
        self.connect(target, source, epoll)

    def ask_again(self, now: float, least_rto_s: float) -> None:
        """Ask on the connection that stands."""
        rto_s = self._look()
        self.asked_at, self.rto_s, self.busy = now, max(rto_s, least_rto_s), True
        self.retransmits = 0
        self.ask()

    def answer(self, now: float) -> Answer:
        """Return what is known of the request's answer by now."""
        if self.state is not State.FREE:
            self._look()
        return Answer(self.backend or UNKNOWN, now - self.asked_at, self.rto_s, self.retransmits)

    def close(self) -> None:
        """End the connection, after a last look at what TCP knows of it."""
        self._look()
        super().close()

    def _look(self) -> float:
        """Count what was sent again; return TCP's RTO."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        rto_us, resent = _TCP_INFO.unpack(info)
        self.retransmits += resent - self.resent
        self.resent = resent
        return float(rto_us) / 1e6
