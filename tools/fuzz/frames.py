"""Frames that are right or nearly so, made fast: every layer from bytes, most choices by one draw."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.rig.reading import EXTENSIONS, FRAGMENT, MAPPED, SCTP, TCP, UDP
from tools.fuzz.configs import NETWORKS, PORTS, VIPS, Case
from xdplb.model import Network, Protocol

OWN_MAC, ROUTER_MAC, GROUP_MAC = b"\2\0\0\0\0\2", b"\2\0\0\0\0\1", b"\1\0\x5e\0\0\1"
CHECKSUMS = [0x0000, 0xFFFF, 0xFEFF, 0xFF00, 0xFEFE, 0x00FF, 0x0100, 0xFFFE]
TTLS = [64] * 20 + [0, 1, 1, 2, 2, 3, 255]
TCP_FLAGS = [0x02, 0x02, 0x02, 0x10, 0x10, 0x18, 0x12, 0x11, 0x04, 0xC2, 0xFF, 0]
CHUNKS = [1, 1, 0, 2, 10, 255]
LONGEST = {False: 3400, True: 9100}  # bytes of a frame, without and with frames of several buffers
ICMP = {4: 1, 6: 58}
ERRORS = {4: [3, 3, 11, 12, 4, 5, 2, 13], 6: [1, 2, 2, 3, 4, 0, 5, 133]}
QUERIES = {4: [(8, 0), (8, 0), (8, 0), (8, 1), (0, 0), (13, 0)], 6: [(128, 0), (128, 0), (128, 0), (128, 1), (135, 0)]}
SOURCES = {
    4: [bytes([198, 51, 100, n]) for n in (1, 2, 3, 129)] + [bytes([10, 1, 2, 3])],
    6: [bytes.fromhex(f"20010db8000c{n:04x}") + b"\0\0\0\0\0\0\0\7" for n in (0, 1, 0x8000, 0x8001)],
}
NOT_ONE_HOST = {
    4: [
        bytes(part)
        for part in ((0, 0, 0, 1), (127, 0, 0, 1), (224, 0, 0, 1), (255,) * 4, (223, 255, 0, 1), (1, 0, 0, 0))
    ],
    6: [bytes.fromhex(text) for text in ("00" * 16, "00" * 15 + "01", "00" * 15 + "02", "ff02" + "00" * 13 + "01")]
    + [bytes(10) + b"\xff\xff\1\2\3\0", b"\xfe" + bytes(15), bytes(7) + b"\1" + bytes(8), bytes(8) + b"\1" + bytes(7)],
}
OTHER_PROTOCOLS = [0, 1, 2, 43, 44, 47, 50, 51, 58, 59, 60, 115, 132, 136, 253, 255]


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a packet is for."""

    version: int
    address: bytes
    protocol: int
    port: int


def targets_of(case: Case) -> list[Target]:
    """Return what the VIPs of a case listen to, edges first of all, and what lies just beside."""
    found = []
    for vip in {vip: None for state in case.states for service in state for vip in service.vips}:
        addresses, version = _addresses(vip.network), vip.address.version
        if vip.protocol is Protocol.ANY:
            found += [Target(version, a, p, 7) for a in addresses for p in (TCP, UDP, SCTP, 47, 50, 0)]
            continue
        ports = [vip.port, vip.port]
        if vip.last_port:
            middle = (vip.port + vip.last_port) // 2
            ports = [vip.port, vip.last_port, middle, middle, vip.port - 1, vip.last_port + 1 & 0xFFFF]
        found += [Target(version, a, vip.protocol.number, port) for a in addresses for port in ports]
    return found


def strangers() -> list[Target]:
    """Return what some case or other has, and this one perhaps not."""
    return [
        Target(version, address, protocol, port)
        for version in (4, 6)
        for address in [VIPS[version][0].packed, *_addresses(NETWORKS[version][1])]
        for protocol in (TCP, UDP, SCTP)
        for port in PORTS
    ]


def _addresses(network: Network) -> list[bytes]:
    """The edges of a network, and what lies outside of them."""
    first, last = int(network.network_address), int(network.broadcast_address)
    size = len(network.network_address.packed)
    inside = [first, last, first + (last - first) // 3]
    numbers = [first] * 6 if first == last else [*inside, *inside, first - 1, last + 1]
    return [number.to_bytes(size, "big") for number in numbers]


class Frames:
    """An endless source of frames for a case."""

    def __init__(self, case: Case, rng: Random) -> None:
        self.rng, self.spec = rng, case.spec
        others = strangers()
        self.targets = targets_of(case) or others
        mapped = [Target(6, MAPPED + t.address, t.protocol, t.port) for t in self.targets if t.version == 4]
        self.targets += [rng.choice(mapped or others) for _ in range(1 + len(self.targets) // 40)]
        self.targets += [rng.choice(others) for _ in range(1 + len(self.targets) // 12)]
        self.longest = LONGEST[case.spec.frags]
        mtus = {b.row.mtu for state in case.states for s in state for b in s.backends if b.row}
        self.lengths = [mtu + more for mtu in mtus for more in (-1, 0, 1, 4)] + [576, 1280, 1281, 1500]
        self.filler = rng.randbytes(20_000)
        self.ports = [rng.randrange(65536) for _ in range(40)] + [0, 65535]
        self.datagrams: list[tuple[Target, bytes, int, bytes]] = []
        self.chains = [[rng.choice(EXTENSIONS) for _ in range(n)] for n in (1, 1, 1, 2, 2, 3, 7, 8, 8, 9)]

    def make(self) -> bytes:
        """Return a frame."""
        rng = self.rng
        target, roll = rng.choice(self.targets), rng.random()
        source = rng.choice(SOURCES[target.version])
        if roll < 0.62:
            protocol = target.protocol if roll < 0.58 else rng.choice(OTHER_PROTOCOLS)
            return self.packet(target, source, protocol, self.transport(protocol, rng.choice(self.ports), target.port))
        if roll < 0.72:
            return self.query(target, source)
        if roll < 0.84:
            return self.error(target, source)
        return self.fragment(target, source)

    # --- payloads -------------------------------------------------------------------------------------------

    def body(self) -> bytes:
        """A few bytes of no meaning."""
        bits = self.rng.getrandbits(20)
        return self.filler[bits & 0x3FFF : (bits & 0x3FFF) + (bits >> 14)]

    def transport(self, protocol: int, port: int, to_port: int) -> bytes:
        """A transport header with ports, and something behind it."""
        ports, rng = (port << 16 | to_port).to_bytes(4, "big"), self.rng
        if protocol == TCP:
            return b"%b\0\0\0\1\0\0\0\0\x50%c\x20\0\0\0\0\0%b" % (ports, rng.choice(TCP_FLAGS), self.body())
        if protocol == SCTP:
            return b"%bTAG!CRC!%c\0\0\x04%b" % (ports, rng.choice(CHUNKS), self.body())
        return ports + self.body()[:2] + b"\0\0\0\0" + self.body()

    def query(self, target: Target, source: bytes) -> bytes:
        """An echo request, mostly."""
        rng = self.rng
        kind, code = rng.choice(QUERIES[target.version])
        icmp = bytes([kind, code]) + self.checksum() + b"\0\1\0\2" + self.body()
        return self.packet(target, source, ICMP[target.version], icmp)

    def error(self, target: Target, client: bytes) -> bytes:
        """An ICMP error about what the VIP sent to a client."""
        rng, version = self.rng, target.version
        sender = rng.choice(SOURCES[version]) if rng.random() < 0.7 else client
        icmp = bytes([rng.choice(ERRORS[version]), rng.randrange(5)]) + self.checksum() + b"\0\0\5\0"
        vip = target.address if rng.random() < 0.93 else bytes(len(client))
        protocol = target.protocol if rng.random() < 0.9 else rng.choice(OTHER_PROTOCOLS)
        inner = self.transport(protocol, target.port, rng.choice(self.ports))
        if version == 4:
            quoted = self.ip4(vip, client, protocol, inner, options=rng.random() < 0.1, cut=rng.random() < 0.05)
        else:
            quoted = self.ip6(vip, client, protocol, inner)
        if rng.random() < 0.5:
            quoted = quoted[: (20 if version == 4 else 40) + rng.choice([8, 8, 4, 3, 0, -1, 28])]
        return self.packet(target, sender, ICMP[version], icmp + quoted)

    def fragment(self, target: Target, source: bytes) -> bytes:
        """A part of a datagram, in any order, and now and then without all others."""
        rng, known = self.rng, self.datagrams
        if len(known) > 12:
            known.pop(rng.randrange(len(known)))
        if not known or rng.random() < 0.4:
            protocol = target.protocol if rng.random() < 0.9 else ICMP[target.version]
            known.append((target, source, protocol, rng.randbytes(4)))
        target, source, protocol, identification = rng.choice(known)
        first = rng.random() < 0.4
        offset = 0 if first else rng.choice([1, 2, 185, 8191])
        more = rng.random() < (0.9 if first else 0.5)
        payload = self.transport(protocol, int.from_bytes(identification[:2], "big"), target.port)
        return self.packet(target, source, protocol, payload if first else self.body(), (offset, more, identification))

    def checksum(self) -> bytes:
        """One of those where carries go wrong, or any."""
        rng = self.rng
        return (rng.choice(CHECKSUMS) if rng.random() < 0.5 else rng.getrandbits(16)).to_bytes(2, "big")

    # --- headers --------------------------------------------------------------------------------------------

    def packet(
        self, target: Target, source: bytes, protocol: int, payload: bytes, part: tuple[int, bool, bytes] | None = None
    ) -> bytes:
        """The whole frame."""
        rng, roll = self.rng, self.rng.random()
        if roll < 0.05:
            source = rng.choice(NOT_ONE_HOST[target.version])
        elif roll < 0.2:
            headers = 20 if target.version == 4 else 40
            payload = payload.ljust(rng.choice(self.lengths) - headers, b"\x5a")[: self.longest - 200]
        if target.version == 4:
            ip = self.ip4(source, target.address, protocol, payload, roll > 0.95, part=part)
        else:
            ip = self.ip6(source, target.address, protocol, payload, roll > 0.85, part=part)
        return self.ethernet(target.version, ip)

    def ip4(
        self,
        source: bytes,
        destination: bytes,
        protocol: int,
        payload: bytes,
        options: bool = False,
        cut: bool = False,
        part: tuple[int, bool, bytes] | None = None,
    ) -> bytes:
        """RFC 791. `cut`: as if it were a fragment."""
        rng = self.rng
        bits = rng.getrandbits(32)
        more = self.filler[: rng.choice([4, 4, 8, 40])] if options else b""
        length, flags = 20 + len(more) + len(payload), (0, 0x4000, 0x4000, 0x8000)[bits & 3]
        offset, identification = (bits >> 8 & 0x1FFF if cut else 0), b"\0\1"
        if part:
            offset, flags, identification = part[0], flags | part[1] << 13, part[2][:2]
        first = 0x45 + len(more) // 4
        if bits >> 26 == 0:
            first = bits >> 8 & 0xFF
        if bits >> 27 == 1:
            length = max(0, rng.choice([0, 1, 19, 20, 21, length - 1, length + 1, length + 4, 65535]))
        return b"".join((
            bytes((first, bits >> 16 & 0xFF)),
            (length << 32 | int.from_bytes(identification, "big") << 16 | flags | offset).to_bytes(6, "big"),
            bytes((TTLS[(bits >> 2 & 0xFF) % len(TTLS)], protocol)),
            self.checksum(), source, destination, more, payload,
        ))  # fmt: skip

    def ip6(
        self,
        source: bytes,
        destination: bytes,
        protocol: int,
        payload: bytes,
        extensions: bool = False,
        part: tuple[int, bool, bytes] | None = None,
    ) -> bytes:
        """RFC 8200."""
        rng = self.rng
        bits = rng.getrandbits(32)
        chain: list[int] = list(rng.choice(self.chains)) if extensions else []
        if part:
            chain.insert(rng.randrange(len(chain) + 1), -1)
        for kind in reversed(chain):
            payload = self.extension(kind, protocol, part) + payload
            protocol = FRAGMENT if kind < 0 else kind
        length = len(payload)
        first = 6 if bits & 0x3F else bits >> 8 & 15
        if bits >> 27 == 1:
            length = max(0, rng.choice([0, 1, length - 1, length + 1, length + 4, 65535]))
        head = (first << 60 | (bits >> 4 & 0xFFFFFFF) << 32 | length << 16 | protocol << 8).to_bytes(8, "big")
        return b"%b%c%b%b%b" % (head[:7], TTLS[(bits >> 6 & 0xFF) % len(TTLS)], source, destination, payload)

    def extension(self, kind: int, following: int, part: tuple[int, bool, bytes] | None) -> bytes:
        """An extension header; -1: that of the fragment `part`."""
        rng = self.rng
        if kind < 0 and part:
            return bytes([following, 0]) + (part[0] << 3 | part[1]).to_bytes(2, "big") + part[2]
        if kind == FRAGMENT:  # an atomic one
            return bytes([following, rng.getrandbits(8), 0, rng.choice([0, 0, 6])]) + rng.randbytes(4)
        units = rng.choice([0, 0, 0, 1, 2])
        return bytes([following, units]) + self.filler[: (units + 2) * 4 - 2 if kind == 51 else (units + 1) * 8 - 2]

    def ethernet(self, version: int, ip: bytes) -> bytes:
        """Tags, padding, and now and then an end that comes too early."""
        rng = self.rng
        bits = rng.getrandbits(32)
        tags = b""
        if bits & 15 < (6 if self.spec.vlan else 1):
            for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
                tags += rng.choice([b"\x81\x00", b"\x88\xa8"]) + rng.randbytes(2)
        to = GROUP_MAC if bits >> 4 & 15 == 0 else OWN_MAC
        frame = b"".join((to, ROUTER_MAC, tags, b"\x08\x00" if version == 4 else b"\x86\xdd", ip))
        if bits >> 8 & 31 == 0:
            frame = frame[: 14 + (bits >> 16) % (len(frame) - 13)]
        elif bits >> 8 & 7 == 1:
            frame = frame.ljust(60, b"\xa5") + bytes(bits >> 28)
        return frame[: self.longest]
