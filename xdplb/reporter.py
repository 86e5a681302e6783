"""The agent's second half: tell the balancers where clients want to, and nobody answers.

The program notes it (`bpf/unanswered.h`); here it is read twenty times a second, and what is new goes out, as one
datagram to each balancer. When nothing happens, a look is a few system calls.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from xdplb.dataplane import layout, loader, syscall
from xdplb.decap import Network
from xdplb.health.backlog import Backlog
from xdplb.health.evidence import Sign, Unanswered, pack, unmapped
from xdplb.model import EVIDENCE_PORT, Address

EVERY_S = 0.05
_MOST = 64  # destinations read at a time: a scan of ports costs no more
_REMEMBERED_S = 60.0  # a balancer that sent nothing for so long is not told
_MOST_TOLD = 64  # of a prefix of outer sources, some: whoever spreads them so names an address to report to


@dataclass(frozen=True, slots=True)
class Whom:
    """Who is told. `addresses`: these; without any, those that sent something, as far as `sources` has them."""

    addresses: tuple[Address, ...] = ()
    port: int = EVIDENCE_PORT
    sources: tuple[Network, ...] = ()


class Reporter:
    """What one agent has to tell."""

    def __init__(self, pinned: loader.Pinned, whom: Whom) -> None:
        """Forget what was noted before."""
        self._whom = whom
        self._unanswered = syscall.get(pinned.folder / "unanswered")
        self._balancers = syscall.get(pinned.folder / "balancers")
        self._key = layout.build(pinned.maps["unanswered"]["key"])
        self._places: int = pinned.maps["balancers"]["entries"]
        self._seen: dict[Address, float] = {}
        self._sockets = {family: socket.socket(family, socket.SOCK_DGRAM) for family in _families()}
        self._backlog: Backlog | None = Backlog()
        self.problem = ""  # why full queues are not seen, if they are not
        for place in range(self._places):
            syscall.update(self._balancers, place.to_bytes(4, "little"), bytes(16))
        for key in syscall.keys(self._unanswered, len(bytes(self._key()))):
            self._take(key)

    def close(self) -> None:
        """Let go of maps and sockets."""
        for fd in (self._unanswered, self._balancers):
            os.close(fd)
        for opened in self._sockets.values():
            opened.close()

    def look(self) -> list[Unanswered]:
        """Look once, tell what is new, and return it."""
        now = time.monotonic()
        self._see_balancers(now)
        found = [*self._count(), *self._look_at_queues()]
        for datagram in pack(found):
            for address in self._whom.addresses or self._seen:
                self._send(datagram, address)
        return found

    def _send(self, datagram: bytes, address: Address) -> None:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with contextlib.suppress(OSError):  # no way there now: it is told again as long as clients come
            if family in self._sockets:
                self._sockets[family].sendto(datagram, socket.MSG_DONTWAIT, (str(address), self._whom.port))

    def _see_balancers(self, now: float) -> None:
        """Remember who sent something. The program writes without a lock, so a place may hold halves of two."""
        places = bytes(syscall.lookup_array(self._balancers, self._places, 16))
        for place, at in enumerate(range(0, len(places), 16)):
            packed = places[at : at + 16]
            if any(packed):
                syscall.update(self._balancers, place.to_bytes(4, "little"), bytes(16))
                address = unmapped(packed)
                if not self._whom.sources or any(address in network for network in self._whom.sources):
                    self._seen.pop(address, None)  # so that the latest is the last
                    self._seen[address] = now
        lately = [item for item in self._seen.items() if now - item[1] < _REMEMBERED_S]
        self._seen = dict(lately[-_MOST_TOLD:])

    def _count(self) -> list[Unanswered]:
        found = []
        for raw in syscall.keys(self._unanswered, len(bytes(self._key())), _MOST):
            key: Any = self._key.from_buffer_copy(raw)
            if count := self._take(raw):
                found.append(Unanswered(unmapped(bytes(key.address)), socket.ntohs(key.port), Sign.NO_SOCKET, count))
        return found

    def _take(self, key: bytes) -> int:
        """Return a count and forget it; what is counted in between is lost, and more will come."""
        with contextlib.suppress(KeyError, FileNotFoundError):
            count = int.from_bytes(syscall.lookup(self._unanswered, key, 8), "little")
            syscall.delete(self._unanswered, key)
            return count
        return 0

    def _look_at_queues(self) -> list[Unanswered]:
        try:
            return self._backlog.look() if self._backlog else []
        except (OSError, ValueError) as error:  # a kernel without sock_diag for TCP
            self._backlog, self.problem = None, f"full accept queues are not seen: {error}"
            return []


def _families() -> list[socket.AddressFamily]:
    """Return the families that this host has."""
    return [socket.AF_INET, socket.AF_INET6] if os.path.exists("/proc/net/if_inet6") else [socket.AF_INET]
