"""The self-test's decisions: which frames go through the loaded program, and what has to become of them. Pure.

Two promises, of which the second is for whoever sits far away: a packet to a VIP is forwarded, and what is for this
host itself still gets there: SSH to its addresses, ARP, neighbour discovery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from xdplb.desired import ETHERTYPE, DesiredService
from xdplb.model import Address, Protocol, Vip
from xdplb.tables import Way

ACTIONS = ("ABORTED", "DROP", "PASS", "TX", "REDIRECT")  # enum xdp_action
SSH = 22
CLIENTS = ("198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1")  # nobody's (RFC 5737, RFC 3849, RFC 9637)
_PORT = 40000  # of the client
_OTHER_MAC = bytes.fromhex("020000000001")
_BROADCAST = b"\xff" * 6
_ARP, _TCP, _UDP, _SCTP, _ICMP6 = bytes.fromhex("0806"), 6, 17, 132, 58
_SYN, _RST_ACK = 0x02, 0x14


@dataclass(frozen=True, slots=True)
class Case:
    """A frame, in words what it is, and the actions of which one has to come out."""

    what: str
    frame: bytes
    wanted: tuple[str, ...]

    def judge(self, action: int) -> str | None:
        """Return what is wrong with this action, in one line; None: nothing."""
        name = ACTIONS[action] if action < len(ACTIONS) else str(action)
        if name in self.wanted:
            return None
        return f"{self.what} came out as XDP_{name}, not XDP_{' or XDP_'.join(self.wanted)}"


def forwarded(
    services: Iterable[DesiredService], mac: bytes, find_client: Callable[[int], Address | None]
) -> Iterator[Case]:
    """Yield a packet to each VIP that has a backend that is up.

    `find_client` returns a client's address of an IP version that the guard lets through, None: there is none. The
    packets are TCP resets where it is TCP: no flow is remembered for long, nothing counts as a new connection.
    """
    for service in services:
        up = [b.row for b in service.backends if b.serves and b.row]
        wanted = ("PASS",) if up and up[0].way is Way.LOCAL else ("TX", "REDIRECT")
        for vip in service.vips if up else ():
            client = find_client(vip.address.version)
            if client:
                yield Case(f"a packet to {vip} of {service.name!r}", _to_vip(vip, client, mac), wanted)


def passed(own: Iterable[Address], mac: bytes) -> Iterator[Case]:
    """Yield what is for this host: SSH to each address of its own, and who asks for its hardware address."""
    for address in own:
        client = ip_address(CLIENTS[0 if address.version == 4 else 2])
        syn = _ip(client, address, _TCP, _tcp(_PORT, SSH, _SYN))
        yield Case(f"SSH to {address}", _ethernet(mac, client.version, syn), ("PASS",))
        yield Case(*_who_has(address), ("PASS",))


def _to_vip(vip: Vip, client: Address, mac: bytes) -> bytes:
    protocol = _TCP if vip.protocol is Protocol.ANY else vip.protocol.number
    port = vip.port or 80
    payload = {
        _TCP: _tcp(_PORT, port, _RST_ACK),
        _UDP: _words(_PORT, port, 16, 0) + bytes(8),
        _SCTP: _words(_PORT, port) + bytes(8) + bytes.fromhex("07000004"),  # a chunk: SHUTDOWN
    }[protocol]
    return _ethernet(mac, client.version, _ip(client, vip.address, protocol, payload))


def _who_has(address: Address) -> tuple[str, bytes]:
    """Return an ARP request, or a neighbour solicitation to the solicited-node address (RFC 4861, 4.3)."""
    if address.version == 4:
        asked = bytes.fromhex("0001080006040001") + _OTHER_MAC + bytes(4) + bytes(6) + address.packed
        return f"an ARP request for {address}", _BROADCAST + _OTHER_MAC + _ARP + asked + bytes(18)
    group = IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + address.packed[13:])
    sender = IPv6Address("fe80::1")
    body = bytes.fromhex("87000000") + bytes(4) + address.packed + bytes.fromhex("0101") + _OTHER_MAC
    pseudo = sender.packed + group.packed + len(body).to_bytes(4, "big") + _ICMP6.to_bytes(4, "big")
    body = body[:2] + _checksum(pseudo + body) + body[4:]
    packet = _ip(sender, group, _ICMP6, body, hops=255)
    return f"a neighbour solicitation for {address}", _ethernet(b"\x33\x33" + group.packed[12:], 6, packet)


def _ethernet(mac: bytes, version: int, packet: bytes) -> bytes:
    return (mac + _OTHER_MAC + ETHERTYPE[version] + packet).ljust(60, b"\0")


def _ip(source: Address, destination: Address, protocol: int, payload: bytes, hops: int = 64) -> bytes:
    if source.version == 6:
        head = bytes.fromhex("60000000") + _words(len(payload)) + bytes((protocol, hops))
        return head + source.packed + destination.packed + payload
    start = bytes.fromhex("4500") + _words(20 + len(payload), 0, 0x4000) + bytes((hops, protocol))
    ends = source.packed + destination.packed
    return start + _checksum(start + ends) + ends + payload


def _tcp(source: int, destination: int, flags: int) -> bytes:
    return _words(source, destination) + bytes(8) + bytes((0x50, flags)) + _words(1024, 0, 0)


def _words(*words: int) -> bytes:
    return b"".join(word.to_bytes(2, "big") for word in words)


def _checksum(data: bytes) -> bytes:
    """RFC 1071, of an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return _words(total ^ 0xFFFF)
