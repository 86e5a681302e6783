"""Why a packet ended as it did: the cause in one phrase, which stands in the first line of an explanation. Pure."""

from __future__ import annotations

from collections.abc import Callable

from xdplb.dataplane.outcome import Outcome
from xdplb.explain.expecting import Expected, backend_row, may_be_told
from xdplb.explain.guarding import limits_of
from xdplb.explain.places import Places
from xdplb.explain.reading import ECHO, Packet
from xdplb.explain.steering import RING
from xdplb.explain.world import World, state_text
from xdplb.reasons import REASONS
from xdplb.tables import BackendRow, Way

MOST_NAMED = 6
WAYS = {
    **{Way.IPIP4: "IP in IPv4", Way.IPIP6: "IP in IPv6", Way.GUE4: "GUE over IPv4", Way.GUE6: "GUE over IPv6"},
    **{Way.L2: "another Ethernet header", Way.LOCAL: "this host's own stack"},
}


class Causes:
    """The causes of one packet's end."""

    def __init__(self, world: World, places: Places, expected: Expected, outcome: Outcome) -> None:
        self._world, self._places, self._expected, self._outcome = world, places, expected, outcome
        self._index, self._row = backend_row(world, expected, outcome)

    def cause(self) -> str:
        """Return the cause; where nothing more is known, what the reason means."""
        reason = self._outcome.reason
        if reason is None:
            return self._forwarded()
        if self._expected.ended and self._expected.ended.reason == reason:
            return self._expected.ended.why
        tell: Callable[[], str] | None = getattr(self, f"_{reason}", None)
        return (tell() if tell and self._expected.packet else "") or REASONS[reason].meaning

    @property
    def _packet(self) -> Packet:
        assert self._expected.packet
        return self._expected.packet

    @property
    def _service(self) -> str:
        found = self._expected.found
        return self._world.service(found.row) if found else "no service"

    def _forwarded(self) -> str:
        row = self._row
        way, slot = f", {WAYS[row.way]}" if row else "", self._expected.slot
        why = f"; {slot.because}" if slot and slot.why != RING else ""
        return f"{self._service} to {self._world.backend(self._index)}{way}{why}"

    # --- a reason each, by its name -------------------------------------------------------------------------

    def _passed_no_service(self) -> str:
        packet = self._packet
        return self._places.nearest(packet.destination, packet.ports[1], packet.protocol)

    def _passed_icmp(self) -> str:
        return "it is an echo request behind IP options, which nobody looks for there" if self._is_echo else ""

    @property
    def _is_echo(self) -> bool:
        return self._packet.kind == ECHO

    def _answered_echo(self) -> str:
        return f"{self._packet.destination} is a VIP's address, and pings to it are answered by the balancer"

    def _answered_too_big(self) -> str:
        mtu = self._row.mtu if self._row else 0
        return f"it has {self._packet.length} bytes, and the way to {self._world.backend(self._index)} takes {mtu}"

    def _answered_ttl(self) -> str:
        what = "time to live" if self._packet.version == 4 else "hop limit"
        return f"its {what} is {self._packet.ttl}, so it may not go on; its sender was told"

    def _dropped_unanswered(self) -> str:
        packet, world = self._packet, self._world
        what = "it is a ping" if self._is_echo else self._to_tell(packet)
        if not may_be_told(packet):
            return f"{what}, and its sender may not be told: it is no single host, or the packet is about others"
        cost = world.spec.answer_cost
        return f"{what}, and this CPU has sent as many answers as it may ({1e9 / (cost << 6):,.0f}/s, answers_per_s)"

    def _to_tell(self, packet: Packet) -> str:
        too_long = self._row is not None and packet.ttl > 1 and packet.length > self._row.mtu
        if self._row and too_long:
            return f"it has {packet.length} bytes, and the way to its backend takes {self._row.mtu}"
        return "it is at the end of its time to live"

    def _dropped_malformed(self) -> str:
        packet = self._packet
        room = len(packet.frame) - packet.at
        return f"it says that it has {packet.length} bytes, and the frame has {room} for it"

    def _dropped_blocked(self) -> str:
        sender, listed = self._packet.sender, self._world.names.listed
        found = listed(sender) if listed else None
        return f"{sender} is in {found[0]}, which is on the block list" if found else f"{sender} is on the block list"

    def _dropped_packet_rate(self) -> str:
        return self._over("packet_rate")

    def _dropped_connection_rate(self) -> str:
        return self._over("connection_rate")

    def _dropped_service_rate(self) -> str:
        return self._over("service_rate")

    def _over(self, what: str) -> str:
        found = self._expected.found
        limits = limits_of(self._world, self._packet, found.row, self._outcome) if found else []
        limit = next((limit for limit in limits if limit.what == what), None)
        return f"{self._service} has a limit, and it is used up: {limit}" if limit else ""

    def _dropped_no_backend(self) -> str:
        found, name = self._expected.found, self._service
        service = self._world.names.services.get(found.row.identity) if found else None
        if service is None:
            return f"the slot of {name} that it falls into names no backend"
        if not service.backends:
            return f"service {name} has no backends"
        told = [f"{b.backend.name} {state_text(b)}" for b in service.backends]
        more = f"; and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
        up = any(b.serves for b in service.backends)
        what = "has backends that serve, but this slot has none yet" if up else "has no backend that is up"
        return f"service {name} {what} ({'; '.join(told[:MOST_NAMED])}{more})"

    def _dropped_no_headroom(self) -> str:
        return f"no room for {WAYS[self._row.way]} in front of the frame" if self._row else ""

    def _dropped_no_egress(self) -> str:
        row: BackendRow | None = self._row
        if row is None:
            return ""
        out = self._world.interface(row.egress)
        return (
            f"{self._world.backend(self._index)} is reached by {out}, which is not there or takes no redirected frames"
        )
