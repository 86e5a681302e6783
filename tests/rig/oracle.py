"""The packet's way in plain Python, written from docs/packets.md: what a program must do and remember.

Reading and writing of frames are in `reading` and `writing`; here is what lies between: sections 2 to 5. What does not
depend on the packet is prepared once for each configuration. Time stands still: it must not matter to who compares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.rig import writing
from tests.rig.reading import TCP, Kind, Packet, Reader
from tests.rig.xdp import Action
from xdplb import hashing
from xdplb.contract import CONSTANTS
from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredService
from xdplb.hashing import mapped
from xdplb.model import Protocol
from xdplb.tables import MOVING, NO_BACKEND, SETTLED, BackendRow, LimitRow, ServiceRow, Tables, Way, slot_parts

NOT_LISTED, BLOCKED, ALLOWED = 0, 1, 2  # what the lists say of a sender
ANSWERS_AT_ONCE = 64
PLACES, PATIENCE = CONSTANTS["ATTEMPTS"], CONSTANTS["ATTEMPT_MOMENTS"]

_MASK = (1 << 64) - 1
_GOLDEN, _OTHER = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93

Account = tuple[str, int, int, int]  # what is limited, whose limit, family of the client, its bits


Flow = tuple[int, int, int]  # its hash, the hash that picks its slot, its service


class Remembered(NamedTuple):
    """A flow of a slot that is not settled."""

    backend: int  # index
    born: bool
    closing: bool


class Attempt(NamedTuple):
    """A SYN of a sampled flow that nobody has acknowledged an answer to."""

    name: int
    moment: int
    backend: int  # index


class Outcome(NamedTuple):
    """What becomes of a frame: forwarded to a backend (its index), or not, for a reason."""

    action: Action
    frame: bytes  # of a dropped one it means nothing
    reason: str = ""
    backend: int = 0
    opens: bool = False


class Oracle:
    """One configuration, and what its packets left behind."""

    def __init__(self, spec: Spec, verdict: Callable[[bytes, int], int] = lambda sender, version: NOT_LISTED) -> None:
        """`verdict` is what the lists of a packet's version say of its sender: 16 bytes, IPv4 in IPv4-mapped form."""
        self.spec, self.verdict = spec, verdict
        self.devices: set[int] = set()
        self.reader = Reader(spec, self.is_vip)
        self.flows: dict[Flow, Remembered] = {}
        self.accounts: dict[Account, int] = {}  # what is still to be paid, in units of 64 ns
        self.answers = 0  # the same
        self.spared: Counter[str] = Counter()
        self.sent: Counter[int] = Counter()  # packets, by backend's identity
        self.attempts: dict[int, Attempt] = {}  # by place
        self.progress: Counter[tuple[int, str]] = Counter()  # by backend's identity and what
        self.moment = 0
        self.serve((), Tables())

    def serve(self, services: Sequence[DesiredService], tables: Tables) -> None:
        """Take over another configuration and where its things lie; what was remembered stays."""
        self._backends, self._slots = tables.backends, tables.slots
        self._limits = {number: (row, _client_masks(row)) for number, row in tables.limits.items()}
        self._ports: dict[tuple[bytes, int, int], ServiceRow] = {}
        self._ranges: dict[tuple[bytes, int], list[tuple[int, int, ServiceRow]]] = {}
        self._whole: dict[bytes, ServiceRow] = {}
        self._addresses: set[bytes] = set()
        self._networks: dict[int, dict[int, bytes]] = {}  # by how many bits are left open, by the others: their place
        placed = {row.key: self._placed(number, row) for number, row in tables.services.items()}
        for vip, row in ((vip, placed[hashing.vip_key(vip)]) for service in services for vip in service.vips):
            place = mapped(vip.address)
            if vip.prefix:
                opened = vip.address.max_prefixlen - vip.prefix
                number, place = int.from_bytes(place, "big"), b"network" + bytes([opened]) + place
                self._networks.setdefault(opened, {})[number >> opened] = place
            else:
                self._addresses.add(place)
            if vip.protocol is Protocol.ANY:
                self._whole[place] = row
            elif vip.last_port:
                ranges = self._ranges.setdefault((place, vip.protocol.number), [])
                ranges.append((vip.port, vip.last_port, row))
            else:
                self._ports[place, vip.port, vip.protocol.number] = row
        self._networks = dict(sorted(self._networks.items()))
        live = {row.identity for row in tables.backends.values()}
        self.sent = Counter({identity: count for identity, count in self.sent.items() if identity in live})
        self.progress = Counter({key: count for key, count in self.progress.items() if key[0] in live})

    def _placed(self, number: int, row: ServiceRow) -> ServiceRow:
        assert number in hashing.key_rows(row.key, self.spec.seed, self.spec.capacity.rows_bits), f"{row} in {number}"
        return row

    def walk(self, frame: bytes) -> Outcome:
        """Return what becomes of a frame."""
        packet = self.reader.read(frame)
        if isinstance(packet, str):
            return _ended(packet, frame)
        if packet.kind is Kind.ECHO:
            return self._answer_echo(packet)
        service = self._find_service(packet)
        if service is None:
            return _ended("passed_no_service", frame)
        if packet.at + packet.length > len(frame):
            return _ended("dropped_malformed", frame)
        flow = picked = self._hash(packet)
        if self.spec.client and any(service.client):
            halves = (int.from_bytes(half, "little") for half in (packet.source[:8], packet.source[8:]))
            picked = hashing.hash_client((next(halves), next(halves)), service.client, self.spec.hash_key)
        word = self._slots[service.ring_offset + hashing.slot_of(picked, service.ring_size)]
        second = self._wants_second_chance(packet, service) and slot_parts(word)[2] != SETTLED
        closer = packet.ordinary and (second or packet.length > service.mtu)
        if closer and packet.version == 6 and frame[packet.at] >> 4 != 6:
            return _ended("passed_not_ip", frame)
        if reason := self._guard(packet, service):
            return _ended(reason, frame)
        index, other = self._steer(packet, (flow, picked, service.identity), word)
        if index == NO_BACKEND:
            return _ended("dropped_no_backend", frame)
        if self.spec.passive and service.passive and packet.protocol == TCP:
            self._note_progress(packet, flow, index)
        return self._send(packet, index, picked, self._other(packet, index, other) if second else None)

    # --- which service --------------------------------------------------------------------------------------

    def is_vip(self, address: bytes) -> bool:
        """Whether an address is some VIP's."""
        return address in self._addresses or self._network_of(address) is not None

    def _network_of(self, address: bytes) -> bytes | None:
        """The place of the longest network that an address lies in."""
        if self._networks:
            number = int.from_bytes(address, "big")
            for opened, networks in self._networks.items():
                if place := networks.get(number >> opened):
                    return place
        return None

    def _find_service(self, packet: Packet) -> ServiceRow | None:
        found = self._find_at(packet.vip, packet)
        if found is None and (place := self._network_of(packet.vip)):
            found = self._find_at(place, packet)
        return found

    def _find_at(self, place: bytes, packet: Packet) -> ServiceRow | None:
        port, protocol = packet.ports[1], packet.protocol
        row = self._ports.get((place, port, protocol))
        if row is None and self._ranges:
            for first, last, of_range in self._ranges.get((place, protocol), ()):
                if first <= port <= last:
                    return of_range
        return row or self._whole.get(place)

    # --- guard ----------------------------------------------------------------------------------------------

    def _guard(self, packet: Packet, service: ServiceRow) -> str:
        """Return why a packet is refused, or nothing."""
        listed = self.verdict(packet.sender, packet.version) if self.spec.prefixes else NOT_LISTED
        if listed == BLOCKED:
            if not self.spec.block_counts_only:
                return "dropped_blocked"
            self.spared["blocked"] += 1
        if listed == ALLOWED or service.limit is None or not self.spec.limits:
            return ""
        limit, masks = self._limits[service.limit]
        client = packet.version, int.from_bytes(packet.sender, "big") & masks[packet.version]
        accounts = [("packet_rate", limit.packet, client)]
        if packet.opens:
            accounts += [("connection_rate", limit.connection, client), ("service_rate", limit.service, (0, 0))]
        for what, (cost, burst), whose in accounts:
            if cost and self._over((what, limit.identity, *whose), cost, burst):
                if not limit.count_only:
                    return f"dropped_{what}"
                self.spared[what] += 1
        return ""

    def _over(self, account: Account, cost: int, burst: int) -> bool:
        """Charge one to an account, unless that is too much."""
        owed = self.accounts.get(account, 0)
        if owed + cost > cost * burst:
            return True
        self.accounts[account] = owed + cost
        return False

    # --- which backend --------------------------------------------------------------------------------------

    def _hash(self, packet: Packet) -> int:
        """As `hash_flow` of xdplb/hashing.py, from what a packet has."""
        source, vip = packet.source, packet.vip
        high, low = int.from_bytes(source[:8], "little"), int.from_bytes(source[8:], "little")
        port, vip_port = packet.ports
        ports = (port & 0xFF) << 8 | port >> 8 | (vip_port & 0xFF) << 24 | (vip_port >> 8) << 16
        value = self.spec.hash_key
        if packet.version == 6:
            value = (value ^ high) * _GOLDEN & _MASK
            value = (value ^ value >> 32 ^ low) * _GOLDEN & _MASK
            value = (value ^ value >> 32 ^ int.from_bytes(vip[:8], "little") ^ ports) * _GOLDEN & _MASK
        else:
            value = (value ^ low ^ ports) * _GOLDEN & _MASK
        value = (value ^ value >> 32 ^ int.from_bytes(vip[8:], "little")) * _GOLDEN & _MASK
        return (value ^ value >> 32) * _OTHER & _MASK

    def _steer(self, packet: Packet, flow: Flow, word: int) -> tuple[int, int]:
        """Return the indexes of a backend and of the slot's other one; 0: there is none."""
        index, previous, state = slot_parts(word)
        if state == SETTLED:
            return index, NO_BACKEND
        chosen = self._keep(packet, flow, word)
        return chosen, previous if chosen == index else index

    def _keep(self, packet: Packet, flow: Flow, word: int) -> int:
        index, previous, state = slot_parts(word)
        told = packet.kind is not Kind.ERROR
        if packet.opens and told:
            self.flows.pop(flow, None)
            if state == MOVING and index != NO_BACKEND:
                self.flows[flow] = Remembered(index, True, packet.closes)
            return index
        kept = self.flows.get(flow)
        if kept and self._is_up(kept.backend):
            if told:
                self.flows[flow] = kept._replace(closing=kept.closing or packet.closes)
            return kept.backend
        if state != MOVING or not self._is_up(previous):
            return index
        if told and kept is None:
            self.flows[flow] = Remembered(previous, False, packet.closes)
        return previous

    def _is_up(self, index: int) -> bool:
        return index in self._backends and self._backends[index].up

    def _wants_second_chance(self, packet: Packet, service: ServiceRow) -> bool:
        return self.spec.second_chance and service.second_chance and packet.protocol == TCP and not packet.opens

    def _other(self, packet: Packet, index: int, other: int) -> BackendRow | None:
        """The backend that is named behind the outer header, for one that does not know the connection."""
        if packet.kind is not Kind.PLAIN or other == index or not self._is_up(other):
            return None
        return self._backends[other]

    def _note_progress(self, packet: Packet, flow: int, index: int) -> None:
        place, name = flow % PLACES, flow >> 32
        found = self.attempts.get(place)
        age = self.moment - found.moment if found else 0
        mine = found is not None and found.name == name
        same = mine and found is not None and found.backend == index and age <= PATIENCE
        identity = self._backends[index].identity
        if packet.opens and (not found or mine or age):
            self.progress[identity, "repeated" if same else "started"] += 1
            self.attempts[place] = Attempt(name, self.moment, index)
        elif packet.answers and mine:
            self.progress[identity, "progressed"] += same
            del self.attempts[place]

    # --- out ------------------------------------------------------------------------------------------------

    def _send(self, packet: Packet, index: int, flow: int, other: BackendRow | None) -> Outcome:
        row = self._backends[index]
        if row.way is not Way.LOCAL:
            if packet.ttl < 2:
                return self._tell(packet, "answered_ttl", writing.TTL_EXCEEDED[packet.version])
            if packet.length > row.mtu:
                return self._tell(packet, "answered_too_big", writing.TOO_BIG[packet.version], row.mtu)
        action = Action.PASS if row.way is Way.LOCAL else Action.TX
        if self.spec.redirect and action is Action.TX and row.egress not in (0, 1):  # 1: what they come in by here
            if row.device not in self.devices:
                return Outcome(Action.DROP, b"", "dropped_no_egress")
            action = Action.REDIRECT
        self.sent[row.identity] += 1
        left = writing.forwarded(packet, row, flow, self.spec, self.sent[row.identity], other)
        return Outcome(action, left, "", index, packet.opens)

    def _may_answer(self) -> bool:
        """The rate of answers: as an account's."""
        cost = self.spec.answer_cost
        if self.answers + cost > cost * ANSWERS_AT_ONCE:
            return False
        self.answers += cost
        return True

    def _answer_echo(self, packet: Packet) -> Outcome:
        frame, at = packet.frame, packet.at
        if at + packet.length > len(frame):
            return _ended("dropped_malformed", frame)
        if frame[at] != 0x45 if packet.version == 4 else frame[at + 6] != 58:
            return _ended("passed_icmp", frame)
        if frame[0] & 1 or not self._may_answer():
            return _ended("dropped_unanswered", frame)
        return Outcome(Action.TX, writing.echo_reply(packet), "answered_echo")

    def _tell(self, packet: Packet, reason: str, type_and_code: tuple[int, int], mtu: int = 0) -> Outcome:
        if packet.kind is not Kind.PLAIN or packet.frame[0] & 1 or not _is_one_host(packet) or not self._may_answer():
            return _ended("dropped_unanswered", packet.frame)
        return Outcome(Action.TX, writing.icmp_error(packet, type_and_code, mtu), reason)


def _ended(reason: str, frame: bytes) -> Outcome:
    if reason.startswith("passed_"):
        return Outcome(Action.PASS, frame, reason)
    return Outcome(Action.DROP, b"", reason)


def _client_masks(row: LimitRow) -> dict[int, int]:
    """Which bits of a sender are one client, by family; IPv4's as part of a mapped address."""
    six = b"".join(half.to_bytes(8, "little") for half in row.client6)
    return {4: int.from_bytes(row.client4.to_bytes(4, "little"), "big"), 6: int.from_bytes(six, "big")}


def _is_one_host(packet: Packet) -> bool:
    """Whether a source can be sent to (RFC 1122, 3.2.1.3; RFC 4291, 2.5.2, 2.5.3, 2.7)."""
    source = packet.source
    if packet.version == 4:
        return source[12] not in (0, 127) and source[12] < 224
    return source[0] != 0xFF and not (source[:15] == bytes(15) and source[15] <= 1)
