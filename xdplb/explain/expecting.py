"""How a packet's way should go, by Python's own reading of the tables: beside it lies what the program did. Pure.

Where the two do not agree, something is broken (the program, the tables, this file), and that is what has to be told.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdplb.dataplane.outcome import Outcome
from xdplb.explain.making import TCP
from xdplb.explain.places import Found, Places
from xdplb.explain.reading import ECHO, PLAIN, Ended, Packet, Reader
from xdplb.explain.steering import STATES, Slot, steer
from xdplb.explain.world import World
from xdplb.tables import SETTLED, BackendRow, Way

RATES = ("dropped_packet_rate", "dropped_connection_rate", "dropped_service_rate")


@dataclass(frozen=True, slots=True)
class Expected:
    """What was read and found. `reasons`: how the way may end, None being forwarded."""

    packet: Packet | None
    ended: Ended | None = None
    found: Found | None = None
    slot: Slot | None = None
    reasons: frozenset[str | None] = frozenset()


def expect(world: World, places: Places, frame: bytes) -> Expected:
    """Return how it should go."""
    read = Reader(world.spec, places.is_vip, world.fragments).read(frame)
    if isinstance(read, Ended):
        return Expected(read.packet, read, reasons=frozenset({read.reason}))
    if read.kind == ECHO:
        ends = {"answered_echo", "dropped_unanswered", "dropped_malformed", "passed_icmp"}
        return Expected(read, reasons=frozenset(ends))
    found = places.find(read.destination, read.ports[1], read.protocol, read.ports != (0, 0))
    if found is None:
        return Expected(read, reasons=frozenset({"passed_no_service"}))
    if read.at + read.length > len(frame):
        return Expected(read, None, found, reasons=frozenset({"dropped_malformed"}))
    slot = steer(world.spec, world.tables, world.flows, read, found.row)
    if _has_no_version(world, read, found, slot):
        ended = Ended("passed_not_ip", "its IPv6 header does not begin as one does", read)
        return Expected(read, ended, found, reasons=frozenset({ended.reason}))
    return Expected(read, None, found, slot, frozenset(_ends(world, read, found, slot)))


def _has_no_version(world: World, packet: Packet, found: Found, slot: Slot) -> bool:
    """The program that is for most packets does not look at an IPv6 header's version; the other one does."""
    if packet.version == 4 or not packet.ordinary or packet.frame[packet.at] >> 4 == 6:
        return False
    second = world.spec.second_chance and found.row.second_chance and packet.protocol == TCP and not packet.opens
    return packet.length > found.row.mtu or (second and slot.state != STATES[SETTLED])


def _ends(world: World, packet: Packet, found: Found, slot: Slot) -> set[str | None]:
    ends: set[str | None] = {"dropped_blocked"} if world.spec.prefixes and not world.spec.block_counts_only else set()
    if world.spec.limits and found.row.limit is not None:
        ends |= set(RATES)
    row = world.tables.backends.get(slot.chosen)
    if not slot.chosen:
        return ends | {"dropped_no_backend"}
    if row is None:  # a backend that was given up a moment ago: nothing is known of its way
        return ends | {None, "answered_ttl", "answered_too_big", "dropped_unanswered", "dropped_no_egress"}
    if row.way is not Way.LOCAL and packet.ttl < 2:
        return ends | {"answered_ttl", "dropped_unanswered"}
    if row.way is not Way.LOCAL and packet.length > row.mtu:
        return ends | {"answered_too_big", "dropped_unanswered"}
    return ends | {None, "dropped_no_headroom"} | ({"dropped_no_egress"} if world.spec.redirect else set())


def may_be_told(packet: Packet) -> bool:
    """Whether the program may send an answer to a packet's source (`may_tell` of bpf/answer.h)."""
    source = packet.source
    if packet.frame[0] & 1 or packet.kind not in (PLAIN, ECHO):
        return False
    if packet.kind == ECHO:
        return True
    if packet.version == 4:
        return source.packed[0] not in (0, 127) and source.packed[0] < 224
    return source.packed[0] != 0xFF and int(source) > 1


def compare(world: World, expected: Expected, outcome: Outcome) -> list[str]:
    """Return where the program did something else than was expected, in words."""
    found = []
    if outcome.reason not in expected.reasons:
        wanted = " or ".join(sorted(reason or "forwarded" for reason in expected.reasons)) or "nothing"
        found.append(f"the program says {outcome.reason or 'forwarded'}, and its tables say {wanted}")
    chosen = expected.slot.chosen if expected.slot else None
    if outcome.backend is not None and chosen is not None and outcome.backend != chosen:
        told, wanted = world.backend(outcome.backend), world.backend(chosen)
        found.append(f"the program sends to {told}, and its tables say {wanted}")
    return [f"{text}: this is a bug of xdplb, please report it with this packet" for text in found]


def backend_row(world: World, expected: Expected, outcome: Outcome) -> tuple[int, BackendRow | None]:
    """Return whom the packet went to, or would have gone to: the program's word where it has one."""
    index = outcome.backend if outcome.backend is not None else (expected.slot.chosen if expected.slot else 0)
    return index, world.tables.backends.get(index)
