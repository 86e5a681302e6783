"""Frames made of other frames: bits flipped, bytes set, cut off, doubled, joined; and such that nobody made."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any

from tools.fuzz.configs import NETWORKS, VIPS

EDGES = [0, 1, 2, 4, 6, 17, 0x29, 0x2C, 0x3A, 0x40, 0x45, 0x46, 0x60, 0x7F, 0x80, 0xFE, 0xFF]


@lru_cache(maxsize=1)
def corpus() -> list[bytes]:
    """Return well-formed frames of every kind, by scapy."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoRequest,
        ICMPv6PacketTooBig,
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
    )
    from scapy.layers.l2 import ARP, GRE, Dot1AD, Dot1Q, Ether
    from scapy.layers.sctp import SCTP, SCTPChunkInit

    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    found = [ether / ARP()]
    for version, client, packet in ((4, "198.51.100.1", IP), (6, "2001:db8:c::7", IPv6)):
        for vip in (str(VIPS[version][0]), str(VIPS[version][1]), str(NETWORKS[version][0][5])):
            to, back = packet(src=client, dst=vip), packet(src=vip, dst=client)
            transports = [TCP(dport=80, flags="S"), TCP(dport=443, flags="PA"), UDP(dport=53), UDP(dport=8005)]
            transports += [SCTP(dport=80) / SCTPChunkInit(), GRE()]
            found += [ether / to / transport / b"payload" for transport in transports]
            found += [ether / Dot1Q(vlan=7) / to / transports[0], ether / Dot1AD() / Dot1Q() / to / transports[2]]
            quoted = bytes(back / TCP(sport=80, dport=4000))
            if version == 4:
                found += [ether / to / ICMP() / b"ping", ether / to / ICMP(type=3, code=4, nexthopmtu=1400) / quoted]
                found += [
                    ether / IP(src=client, dst=vip, options=[IPOption_NOP()] * n) / transports[0] for n in (1, 40)
                ]
                whole: Any = IP(src=client, dst=vip) / UDP(dport=53) / bytes(64)
                found += [ether / part for part in whole.fragment(24)]
            else:
                found += [ether / to / ICMPv6EchoRequest(data=b"ping"), ether / to / ICMPv6PacketTooBig() / quoted]
                found += [ether / to / ICMPv6DestUnreach() / quoted]
                for extension in (IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting()):
                    found += [ether / to / extension / transports[0]]
                found += [ether / to / IPv6ExtHdrFragment(id=1, m=1) / UDP(dport=53) / bytes(8)]
                found += [ether / to / IPv6ExtHdrFragment(id=1, offset=2) / bytes(16)]
    return [bytes(frame) for frame in found]


class Mutations:
    """An endless source of such frames; `recent` are others to begin with."""

    def __init__(self, rng: Random, longest: int) -> None:
        self.rng, self.longest = rng, longest
        self.corpus = corpus()
        self.recent: list[bytes] = list(self.corpus)
        self._cut = (0, 14)

    def note(self, frame: bytes) -> None:
        """Remember a frame to begin with."""
        self.recent[self.rng.randrange(len(self.recent))] = frame

    def make(self) -> bytes:
        """Return a frame of at least 14 bytes."""
        rng = self.rng
        kind = rng.randrange(8)
        if kind == 0:
            return self._next_truncation()
        frame = bytearray(rng.choice(self.recent if kind & 1 else self.corpus))
        size = len(frame)
        if kind < 4:
            for _ in range(rng.choice([1, 1, 2, 4])):
                frame[self._place(size)] ^= 1 << rng.randrange(8)
        elif kind < 6:
            for _ in range(rng.choice([1, 1, 2, 4])):
                frame[self._place(size)] = rng.choice(EDGES)
        elif kind == 6:
            at = rng.randrange(size)
            frame[at:at] = frame[at : at + rng.choice([1, 2, 4, 8, 20, 40])]
        else:
            other = rng.choice(self.recent)
            frame[rng.randrange(14, size + 1) :] = other[rng.randrange(len(other)) :]
        return bytes(frame[: self.longest].ljust(14, b"\0"))

    def _place(self, size: int) -> int:
        """Headers are more interesting than what is behind them."""
        return self.rng.randrange(min(size, 120)) if self.rng.random() < 0.9 else self.rng.randrange(size)

    def _next_truncation(self) -> bytes:
        """Every frame of the corpus, cut off at every byte, one after the other."""
        number, at = self._cut
        frame = self.corpus[number]
        self._cut = (number, at + 1) if at < len(frame) else ((number + 1) % len(self.corpus), 14)
        return frame[:at]

    def noise(self) -> bytes:
        """Return any bytes, often with a known Ethernet type in front."""
        rng = self.rng
        frame = rng.randbytes(rng.randrange(14, 140))
        if rng.random() < 0.7:
            kind = rng.choice([b"\x08\x00", b"\x86\xdd", b"\x81\x00\0\1\x08\x00\x45", b"\x08\x00\x45", b"\x86\xdd\x60"])
            frame = (frame[:12] + kind + frame[12 + len(kind) :])[: max(14, len(frame))]
        return frame
