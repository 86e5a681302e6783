"""A data plane in plain Python: tests and `plan` ask it where a packet would go."""

from __future__ import annotations

from collections.abc import Sequence

from xdplb import hashing
from xdplb.contract import CONSTANTS
from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredService
from xdplb.model import Address, Network, Vip
from xdplb.sweep import Clock, Look, look_for
from xdplb.tables import (
    MOVING,
    NO_BACKEND,
    BackendRow,
    Change,
    ClearBackend,
    ClearLimit,
    ClearNetwork,
    ClearService,
    LimitRow,
    PutBackend,
    PutLimit,
    PutNetwork,
    PutService,
    PutSlots,
    ServiceRow,
    Tables,
    Traffic,
    slot_parts,
)


class Fake:
    """The same tables as the kernel's, and the packet's way through them."""

    def __init__(self, spec: Spec, filled: Tables | None = None) -> None:
        """`filled`: a copy of these lies in the tables at the beginning."""
        self.spec, old = spec, filled or Tables()
        self.services: dict[int, ServiceRow] = dict(old.services)
        self.backends: dict[int, BackendRow] = dict(old.backends)
        self.slots = [*old.slots, *[NO_BACKEND] * (spec.capacity.slots - len(old.slots))]
        self.limits: dict[int, LimitRow] = dict(old.limits)
        self.networks: dict[Network, int] = dict(old.networks)
        self.clock = Clock()
        self.flows: dict[tuple[int, int], int] = {}  # by line and name, the words of `flows`; there is room for all
        self.sent: dict[int, Traffic] = {}
        self.reasons: dict[str, int] = {}

    def tables(self) -> Tables:
        """Return a copy of the tables."""
        return Tables(
            dict(self.services), dict(self.backends), list(self.slots), dict(self.limits), dict(self.networks)
        )

    def apply(self, changes: Sequence[Change]) -> int:
        """Make the changes; KeyError or IndexError where the kernel would refuse or lose something."""
        return sum(self._apply(change) for change in changes)

    def _apply(self, change: Change) -> int:
        match change:
            case PutBackend(index, row, fresh):
                self.backends[index] = row
                if fresh:
                    self.sent.pop(row.identity, None)
            case PutSlots(_, entries):
                for slot, word in entries.items():
                    self.slots[slot] = word
                return len(entries)
            case PutLimit(index, row):
                self.limits[index] = row
            case PutService(number, row):
                self.services[number] = row
            case PutNetwork(network, word):
                self.networks[network] = word
            case ClearNetwork(network):
                del self.networks[network]
            case ClearService(number):
                del self.services[number]
            case ClearLimit(index):
                del self.limits[index]
            case ClearBackend(index):
                del self.backends[index]
        return 1

    def traffic(self) -> dict[int, Traffic]:
        """Return what `send` sent, by identity."""
        return {row.identity: self.sent.get(row.identity, Traffic()) for row in self.backends.values()}

    def verdicts(self) -> dict[str, int]:
        """Return the reasons that `send` met."""
        return dict(self.reasons)

    def find_service(self, vip: Vip) -> ServiceRow | None:
        """Look up what serves a packet to this VIP, as `bpf/find_service.h` does: the closest VIP wins."""
        found = self._find_at(hashing.words(vip.address), vip)
        if found is None:
            within = [network for network in self.networks if vip.address in network]
            if within:
                longest = max(within, key=lambda network: network.prefixlen)
                found = self._find_at((0, self.networks[longest]), vip)
        return found

    def _find_at(self, address: tuple[int, int], vip: Vip) -> ServiceRow | None:
        """Look in the two rows of each key and nowhere else: the port, a range of ports, any protocol."""
        protocol = vip.protocol.number
        if found := self._row((*address, hashing.key_word(vip.port, protocol, "PORT"))):
            return found
        if leads := self._row((*address, hashing.key_word(0, protocol, "RANGES"))):
            for first, last in leads.ranges:
                if first <= vip.port <= last:
                    return self._row((*address, hashing.key_word(first, protocol, "RANGE")))
        top = self._row((*address, hashing.key_word(0, 0, "ADDRESS")))
        return top if top is not None and top.ring_size else None

    def _row(self, key: hashing.Key) -> ServiceRow | None:
        for number in hashing.key_rows(key, self.spec.seed, self.spec.capacity.rows_bits):
            row = self.services.get(number)
            if row is not None and row.key == key:
                return row
        return None

    def steer(self, source: Address, port: int, vip: Vip, opens: bool = False) -> BackendRow | str:
        """Return the backend that a packet goes to (`opens`: a SYN), or the reason why it goes nowhere."""
        service = self.find_service(vip)
        if service is None:
            return "passed_no_service"
        flow = picked = hashing.hash_flow(source, port, vip, self.spec.hash_key)
        if any(service.client):
            picked = hashing.hash_client(hashing.words(source), service.client, self.spec.hash_key)
        word = self.slots[service.ring_offset + hashing.slot_of(picked, service.ring_size)]
        index, _, state = slot_parts(word)
        if state:
            name = hashing.flow_name(flow, picked, service.identity, self.spec.capacity.flows)
            index = self._keep(name, opens, word)
        return self.backends[index] if index != NO_BACKEND else "dropped_no_backend"

    def _keep(self, name: tuple[int, int], opens: bool, slot: int) -> int:
        """Follow a flow of a slot that is not settled, as `keep_flow` in bpf/steer.h does."""
        index, previous, state = slot_parts(slot)
        if opens:
            self.flows.pop(name, None)
            if state == MOVING and index != NO_BACKEND:
                self.flows[name] = self._word(name, index) | 1 << CONSTANTS["FLOW_BORN_SHIFT"]
            return index
        found = self.flows.get(name, 0)
        if found and self._is_up(found & 0xFFFF):
            return found & 0xFFFF
        if state != MOVING or not self._is_up(previous):
            return index
        if not found:
            self.flows[name] = self._word(name, previous)
        return previous

    def _is_up(self, index: int) -> bool:
        return index in self.backends and self.backends[index].up

    def _word(self, name: tuple[int, int], index: int) -> int:
        return name[1] | self.clock.open << CONSTANTS["FLOW_STAMP_SHIFT"] | index

    def sweep(self, services: Sequence[DesiredService]) -> Look:
        """Look through the remembered flows and forget what may be forgotten."""
        look = look_for(services, self.tables(), self.clock)
        names = list(self.flows)
        for place in look.take([self.flows[name] for name in names]):
            del self.flows[names[place]]
        return look

    def send(self, source: Address, port: int, vip: Vip, opens: bool = False, size_bytes: int = 64) -> BackendRow | str:
        """Steer one packet and count it."""
        to = self.steer(source, port, vip, opens)
        if isinstance(to, str):
            self.reasons[to] = self.reasons.get(to, 0) + 1
        else:
            self.sent[to.identity] = self.sent.get(to.identity, Traffic()) + Traffic(1, size_bytes, int(opens))
        return to
