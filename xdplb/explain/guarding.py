"""What the guard has to say of a sender: lists, limits, and how much of them is used (bpf/guard.h). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from xdplb.contract import CONSTANTS
from xdplb.dataplane.outcome import Changed, Outcome
from xdplb.desired import UNITS_PER_S
from xdplb.explain.reading import Packet
from xdplb.explain.world import World
from xdplb.hashing import hash_account, words
from xdplb.tables import LimitRow, ServiceRow

TIME_BITS = 40
SERVICE_TIME = 3  # which word of `struct limit` is its service_time


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit that a packet meets. `used`: of `burst`, after this packet; None: not charged, or not known."""

    what: str  # packet_rate, ...
    client: str
    per_s: float
    burst: int
    used: int | None
    count_only: bool

    def __str__(self) -> str:
        kinds = {"packet_rate": "packets", "connection_rate": "new connections", "service_rate": "new connections"}
        used = "" if self.used is None else f", {self.used} used"
        counts = ", only counted" if self.count_only else ""
        return f"{kinds[self.what]} of {self.client}: {self.per_s:g}/s and {self.burst} at once{used}{counts}"

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        names = ("what", "client", "per_s", "burst", "used", "count_only")
        return {name: getattr(self, name) for name in names}


def limits_of(world: World, packet: Packet, row: ServiceRow, outcome: Outcome) -> list[Limit]:
    """Return the limits that a packet meets, in the order in which they are asked."""
    limit = world.tables.limits.get(row.limit) if row.limit is not None and world.spec.limits else None
    if limit is None:
        return []
    return list(_limits(world, packet, limit, outcome))


def _limits(world: World, packet: Packet, limit: LimitRow, outcome: Outcome) -> Iterator[Limit]:
    client, accounts = _client(packet, limit), outcome.changes.get("clients", ())
    kinds = [("packet_rate", limit.packet, CONSTANTS["ACCOUNT_OF_PACKETS"])]
    if packet.opens:
        kinds.append(("connection_rate", limit.connection, CONSTANTS["ACCOUNT_OF_CONNECTIONS"]))
    for what, (cost, burst), number in kinds:
        if cost:
            used = _used(world, _paid(world, packet, limit, number, accounts), cost)
            yield Limit(what, client, _per_s(cost), burst, used, limit.count_only)
    cost, burst = limit.service
    if packet.opens and cost:
        after = [word for c in outcome.changes.get("limits", ()) for n, _, word in c.words if n == SERVICE_TIME]
        used = _used(world, after[0] if after else None, cost)
        yield Limit("service_rate", "all clients", _per_s(cost), burst, used, limit.count_only)


def _per_s(cost: int) -> float:
    return round(UNITS_PER_S / cost, 3)


def _paid(world: World, packet: Packet, limit: LimitRow, what: int, changes: tuple[Changed, ...]) -> int | None:
    """Return until when a client's account is paid off after the packet, if that was changed."""
    mask = limit.client6 if packet.version == 6 else (0, limit.client4 << 32)
    number = hash_account(words(packet.sender), packet.version, mask, limit.identity, what, world.spec.hash_key)
    line, name = (number >> 32) * world.spec.capacity.clients >> 32, number & 0xFFFFFF
    for change in changes:
        for _, _, word in change.words:
            if change.key == line and word >> TIME_BITS == name:
                return word & (1 << TIME_BITS) - 1
    return None


def _used(world: World, until: int | None, cost: int) -> int | None:
    if until is None:
        return None
    ahead = (until - world.now) & (1 << TIME_BITS) - 1
    return -(-ahead // cost) if ahead < 1 << TIME_BITS - 1 else 0


def _client(packet: Packet, limit: LimitRow) -> str:
    halves = (limit.client4,) if packet.version == 4 else limit.client6
    bits = sum(half.bit_count() for half in halves)
    return (
        str(ip_network((packet.sender, bits), strict=False))
        if bits < packet.sender.max_prefixlen
        else f"{packet.sender}"
    )
