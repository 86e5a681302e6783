"""The agent's program without an interface, and frames with outer headers for it."""

from __future__ import annotations

import os
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from tests.rig.packets import CLIENT4, CLIENT6, LB4, LB6, LB_MAC, NEXT_MAC, VIP4, VIP6
from tests.rig.xdp import Action
from xdplb import decap
from xdplb.dataplane import loader, syscall

PORT = 6080


class Agent:
    """The program of the agent without an interface."""

    def __init__(self, place: loader.Place, settings: decap.Settings) -> None:
        self.place, self.settings = place, settings
        self.pinned = loader.obtain(place, decap.request_for(settings))
        self.fd = syscall.get(self.pinned.program)

    def begin(self) -> None:
        """Set all counters to 0 and its networks to what was asked for."""
        decap.put_networks(self.pinned, self.settings)
        size = 8 * len(decap.read_counters(self.place)) * syscall.possible_cpus()
        fd = syscall.get(self.pinned.folder / "decapped")
        syscall.update(fd, bytes(4), bytes(size))
        os.close(fd)

    def run(self, frame: Any) -> tuple[Action, bytes]:
        action, left, _ = syscall.test_run(self.fd, bytes(frame))
        return Action(action), left

    def counted(self) -> dict[str, int]:
        return {name: n for name, n in decap.read_counters(self.place).items() if n}


def link(tags: int = 0) -> Any:
    ether = Ether(src=LB_MAC, dst=NEXT_MAC)
    return (ether, ether / Dot1Q(vlan=5, prio=3), ether / Dot1AD(vlan=5) / Dot1Q(vlan=6))[tags]


def inner(family: int = 4, tos: int = 0, **fields: Any) -> bytes:
    """A client's packet to a VIP, whole and with its checksums."""
    payload = UDP(sport=4000, dport=53) / Raw(b"what is your name?")
    usual: dict[str, Any]
    if family == 4:
        usual = {"src": CLIENT4, "dst": VIP4, "tos": tos}
        return bytes(IP(**usual | fields) / payload)
    usual = {"src": CLIENT6, "dst": VIP6, "tc": tos}
    return bytes(IPv6(**usual | fields) / payload)


def outer(family: int = 4, proto: int = 4, tos: int = 0, **fields: Any) -> Any:
    """The balancer's outer IP header."""
    usual: dict[str, Any]
    if family == 4:
        usual = {"src": LB4, "dst": "10.0.11.2", "proto": proto, "tos": tos, "id": 0}
        return IP(**usual | fields)
    usual = {"src": LB6, "dst": "fd00:11::2", "nh": proto, "tc": tos}
    return IPv6(**usual | fields)


def number(packet: bytes) -> int:
    """The protocol number that announces an inner packet."""
    return 4 if packet[0] >> 4 == 4 else 41


def ipip(packet: bytes, family: int = 4, tags: int = 0, **fields: Any) -> bytes:
    fields = {"proto": number(packet)} | fields
    return bytes(link(tags) / outer(family, **fields) / Raw(packet))


def gue(packet: bytes, family: int = 4, tags: int = 0, udp: Any = None, head: bytes = b"", **fields: Any) -> bytes:
    """`head`: a GUE header other than the balancer's."""
    head = head or bytes([0, number(packet), 0, 0])
    udp = UDP(**{"sport": 50000, "dport": PORT, "chksum": 0} | (udp or {}))
    return bytes(link(tags) / outer(family, proto=17, **fields) / udp / Raw(head + packet))


def middle(packet: bytes, family: int = 4, **fields: Any) -> bytes:
    """The client's packet in IP in IP to a second backend, as a balancer nests it: see bpf/second_chance.h."""
    to = {"dst": "10.0.12.2"} if family == 4 else {"dst": "fd00:12::2"}
    return bytes(outer(family, **{"proto": number(packet)} | to | fields) / Raw(packet))


def bare(packet: bytes, tags: int = 0) -> bytes:
    """What must be left: the same Ethernet header and tags, then the inner packet."""
    frame = bytes(link(tags) / Raw(packet))
    kind = b"\x08\x00" if number(packet) == 4 else b"\x86\xdd"
    return frame[: 12 + 4 * tags] + kind + packet


def turned(packet: bytes, tags: int = 0) -> bytes:
    """`bare`, on its way back to where it came from."""
    frame = bare(packet, tags)
    return frame[6:12] + frame[:6] + frame[12:]


WRAPS = {"ipip": ipip, "gue": gue}
