"""A network of one wire whose other end is a function: each packet that leaves is answered with what it returns.

client 198.18.0.1, fd18::1 --- tun --- everybody else (198.18.0.0/24, fd18::/64), which is the test
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pyroute2 import IPRoute
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from tools.lab import netns

CLIENTS = {4: "198.18.0.1", 6: "fd18::1"}
BACKENDS = {4: "198.18.0.7", 6: "fd18::7"}
ROUTERS = {4: "198.18.0.254", 6: "fd18::fe"}

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # include/uapi/linux/if_tun.h
_IFA_F_NODAD = 0x02

Answering = Callable[[Packet], Sequence[Packet]]


@dataclass
class Wire:
    """The wire's other end."""

    fd: int
    seen: list[Packet] = field(default_factory=list)
    answering: Answering = lambda packet: []
    after_s: float = 0.0

    def listen(self) -> None:
        """Answer from now on, in the running event loop."""
        asyncio.get_running_loop().add_reader(self.fd, self._take)

    def _take(self) -> None:
        data = os.read(self.fd, 65535)
        packet = IP(data) if data[0] >> 4 == 4 else IPv6(data)
        if packet.dst.startswith("ff02:"):  # what the kernel itself says when a link comes up
            return
        self.seen.append(packet)
        for answer in self.answering(packet):
            asyncio.get_running_loop().call_later(self.after_s, os.write, self.fd, bytes(answer))


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """Run the block in such a network, this thread only."""
    name = f"test-tun-{os.getpid()}"
    netns.create(name)
    try:
        with netns.inside(name):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            try:
                fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"wire", _IFF_TUN | _IFF_NO_PI))
                _configure()
                yield Wire(fd)
            finally:
                os.close(fd)
    finally:
        netns.remove(name)


def _configure() -> None:
    with IPRoute() as route:
        (index,) = route.link_lookup(ifname="wire")
        route.link("set", index=index, state="up", mtu=1500)
        route.addr("add", index=index, address=CLIENTS[4], prefixlen=24)
        route.addr("add", index=index, address=CLIENTS[6], prefixlen=64, flags=_IFA_F_NODAD)


def fail_marked(mark: int) -> None:
    """Have no route for packets with this mark."""
    with IPRoute() as route:
        route.route("add", dst="198.18.0.0/24", table=100, type="unreachable")
        route.rule("add", fwmark=mark, table=100)
