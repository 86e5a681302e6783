"""The packet's way in plain Python: what must happen to a frame, written from RFCs and docs, not from the C.

It grows with each stage of `bpf/`. It reads the same tables as the program, and answers with the action, the frame
that leaves, and what is counted. Written to be obviously right, not fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tests.rig.xdp import Action
from xdplb import hashing
from xdplb.dataplane.plane import Spec
from xdplb.model import Address, Protocol, Vip
from xdplb.tables import NO_BACKEND, BackendRow, ServiceRow, Tables

IPIP, IPV6_IN_IP = 4, 41
PROTOCOLS = {protocol.number: protocol for protocol in Protocol}


@dataclass(frozen=True)
class Outcome:
    """What must happen: the action, the frame, and either a reason or the backend that the frame is counted for."""

    action: Action
    frame: bytes
    reason: str | None = None
    identity: int | None = None
    opens: bool = False


@dataclass(frozen=True)
class _Read:
    """What parsing found."""

    source: Address
    vip: Vip
    source_port: int
    length: int  # of the IP packet, by its own account
    traffic_class: int
    opens: bool


def walk(frame: bytes, tables: Tables, spec: Spec, born: dict[int, int] | None = None) -> Outcome:
    """Return what the program must do with this frame; `born` holds the remembered flows and is brought up to date."""
    read = _parse(frame, spec)
    if isinstance(read, str):
        return Outcome(Action.PASS, frame, read)
    service = _service(read.vip, tables, spec)
    if service is None:
        return Outcome(Action.PASS, frame, "passed_no_service")
    if 14 + read.length > len(frame):
        return Outcome(Action.DROP, frame, "dropped_malformed")
    flow = hashing.hash_flow(read.source, read.source_port, read.vip, spec.hash_key)
    word = tables.slots[service.ring_offset + (flow >> 32) * service.ring_size // 2**32]
    index, previous = word % 2**32, word // 2**32
    if index == NO_BACKEND:
        return Outcome(Action.DROP, frame, "dropped_no_backend")
    if previous:
        index = _keep(flow ^ service.identity, read.opens, index, previous, tables, {} if born is None else born)
    backend = tables.backends[index]
    left = backend.ethernet + _outer(backend, read, flow) + frame[14:]
    return Outcome(Action.TX, left, identity=backend.identity, opens=read.opens)


def _parse(frame: bytes, spec: Spec) -> _Read | str:
    if len(frame) < 14 + 20:
        return "passed_truncated"
    kind = frame[12:14]
    if kind == b"\x08\x00" and spec.vip4:
        return _parse4(frame[14:])
    if kind == b"\x86\xdd" and spec.vip6:
        return _parse6(frame[14:])
    return "passed_not_ip"


def _parse4(ip: bytes) -> _Read | str:
    if ip[0] != 0x45:
        return "passed_options"
    if (ip[6] << 8 | ip[7]) & 0x3FFF:  # more fragments, or an offset
        return "passed_fragment"
    source, destination = IPv4Address(ip[12:16]), IPv4Address(ip[16:20])
    return _transport(ip[9], ip[20:], source, destination, ip[2] << 8 | ip[3], ip[1])


def _parse6(ip: bytes) -> _Read | str:
    if len(ip) < 40:
        return "passed_truncated"
    source, destination = IPv6Address(ip[8:24]), IPv6Address(ip[24:40])
    traffic_class = (ip[0] << 4 | ip[1] >> 4) & 0xFF
    return _transport(ip[6], ip[40:], source, destination, 40 + (ip[4] << 8 | ip[5]), traffic_class)


def _transport(
    number: int, transport: bytes, source: Address, destination: Address, length: int, traffic_class: int
) -> _Read | str:
    protocol = PROTOCOLS.get(number)
    if protocol is None:
        return "passed_not_tcp_udp"
    if len(transport) < (20 if protocol is Protocol.TCP else 8):
        return "passed_truncated"
    port, vip_port = transport[0] << 8 | transport[1], transport[2] << 8 | transport[3]
    opens = protocol is Protocol.TCP and transport[13] & 0x12 == 0x02  # SYN without ACK
    return _Read(source, Vip(destination, vip_port, protocol), port, length, traffic_class, opens)


def _service(vip: Vip, tables: Tables, spec: Spec) -> ServiceRow | None:
    """Two rows, not a search: a VIP that lies elsewhere must not be found."""
    rows = hashing.vip_rows(vip, spec.seed, spec.capacity.rows_bits)
    return next((tables.services[n] for n in rows if n in tables.services and tables.services[n].vip == vip), None)


def _keep(flow: int, opens: bool, index: int, previous: int, tables: Tables, born: dict[int, int]) -> int:
    """The rule of moving slots: SYN goes to the new backend and is remembered, others to where their flow was."""
    if opens:
        born[flow] = index
        return index
    kept = born.get(flow, previous)
    return kept if kept in tables.backends and tables.backends[kept].up else index


def _outer(backend: BackendRow, read: _Read, flow: int) -> bytes:
    """RFC 2003, RFC 2473, RFC 4213; traffic class as RFC 6040; flow label as RFC 6438."""
    protocol = IPIP if read.vip.address.version == 4 else IPV6_IN_IP
    if backend.address.version == 6:
        first = 6 << 28 | read.traffic_class << 20 | flow >> 32 & 0xFFFFF
        head = first.to_bytes(4, "big") + read.length.to_bytes(2, "big") + bytes([protocol, 64])
        return head + backend.source.packed + backend.address.packed
    length = (read.length + 20 & 0xFFFF).to_bytes(2, "big")
    head = bytes([0x45, read.traffic_class]) + length + b"\0\0\x40\0" + bytes([64, protocol])
    checksum = _internet_checksum(head + b"\0\0" + backend.source.packed + backend.address.packed)
    return head + checksum.to_bytes(2, "big") + backend.source.packed + backend.address.packed


def _internet_checksum(header: bytes) -> int:
    """RFC 1071."""
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
