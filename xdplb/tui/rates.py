"""Rates and shares from one status after the other.

The only clock is the daemon's (`now` in the status), so a late or repeated answer does not bend a rate. A
counter that goes down was started anew: its rate is unknown for that interval, never negative.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from xdplb.tui.trends import HISTORY, Settling, Trends, per_second

Status: TypeAlias = dict[str, Any]  # what GET /v1/status answers
History: TypeAlias = Sequence[float]  # packets/s, oldest first; goes on growing unless `Rates.still`

WINDOW_S = 10.0  # shares are measured over this time
_NOISE = 4.0  # standard deviations that a share may be off: beyond them is not one of a thousand backends
NIC_COUNTERS = ("rx_packets", "tx_packets", "xdp_tx_errors")
_RING_NOISE = 0.05  # a ring gives a weight its slots only to about this part of them
_NOTHING: Status = {"now": 0.0, "forwarded": {}}


class Rate(NamedTuple):
    """What was sent in one second."""

    packets: float
    bits: float
    connections: float


@dataclass(frozen=True, slots=True)
class ServiceRates:
    """The sum over a service's backends; `rate` is None until two snapshots are known."""

    rate: Rate | None
    history: History


@dataclass(frozen=True, slots=True)
class BackendRates:
    """One backend's rate, and its share of new flows beside the share that its weight asks for (0 to 1)."""

    rate: Rate | None
    history: History
    share: float | None  # of connections, or of packets where there are none; None: nothing was sent
    weight_share: float  # 0 when it receives no new flows
    skewed: bool  # the two differ by more than chance explains

    @property
    def share_error(self) -> float:
        """Return how far the share is from what the weight asks for, 0 when unknown."""
        return 0.0 if self.share is None else abs(self.share - self.weight_share)


@dataclass(frozen=True, slots=True)
class Rates:
    """Everything that changes with time, as of the last status; `still` keeps it."""

    forwarded: Rate | None
    services: dict[str, ServiceRates]
    backends: Mapping[tuple[str, str], BackendRates]  # by service and backend name
    verdicts: dict[str, float | None]  # per second
    spared: dict[str, float | None]  # per second
    interfaces: dict[str, dict[str, float | None]]  # by name: each of its counters, per second
    reasons: dict[str, History]  # of `verdicts` and, as "spared NAME", of `spared`
    settled: dict[str, float]  # of services with slots under way: the part that has settled again, 0 to 1

    def still(self) -> Rates:
        """Return rates whose histories do not go on, for a screen that stands still."""
        services = {name: replace(one, history=tuple(one.history)) for name, one in self.services.items()}
        backends = {key: replace(one, history=tuple(one.history)) for key, one in self.backends.items()}
        reasons: dict[str, History] = {name: tuple(history) for name, history in self.reasons.items()}
        return replace(self, services=services, backends=backends, reasons=reasons)


@dataclass(slots=True)
class _Track:
    """What is remembered of one backend: the last counters, some rates, and what the window has seen."""

    address: str
    counters: tuple[int, int, int]  # packets, bytes, connections
    rate: Rate | None = None
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    increments: deque[tuple[float, int, int]] = field(default_factory=deque)  # (now, packets, connections)
    packets: int = 0  # sums over `increments`
    connections: int = 0

    def take(self, counters: tuple[int, int, int], now: float, elapsed_s: float) -> None:
        """Go on from the last counters to these."""
        (packets, size, connections), before = counters, self.counters
        packets, size, connections = packets - before[0], size - before[1], connections - before[2]
        self.counters = counters
        if packets < 0 or size < 0 or connections < 0:
            self.rate = None
            return
        self.rate = Rate(packets / elapsed_s, 8 * size / elapsed_s, connections / elapsed_s)
        self.history.append(self.rate.packets)
        self.increments.append((now, packets, connections))
        self.packets += packets
        self.connections += connections
        while self.increments[0][0] <= now - WINDOW_S:
            _, packets, connections = self.increments.popleft()
            self.packets -= packets
            self.connections -= connections

    def forget(self) -> None:
        """Begin the window anew."""
        self.increments.clear()
        self.packets = self.connections = 0


@dataclass(slots=True)
class _ServiceTrack:
    """What is remembered of one service."""

    weight_shares: dict[str, float]
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))


@dataclass(slots=True)
class Meter:
    """Takes one status after the other and knows the rates between the last two."""

    last: Status | None = None
    rates: Rates | None = None
    tracks: dict[tuple[str, str], _Track] = field(default_factory=dict)
    services: dict[str, _ServiceTrack] = field(default_factory=dict)
    reasons: Trends = field(default_factory=Trends)
    interfaces: dict[str, Trends] = field(default_factory=dict)
    settling: Settling = field(default_factory=Settling)

    def take(self, status: Status) -> Rates:
        """Return the rates as of this status; the one before it is what `take` saw last.

        The same status once more changes nothing. A status from the past (the daemon's clock was set back)
        begins everything anew.
        """
        if self.rates is not None and status == self.last:
            return self.rates
        before = self.last
        if before is None or status["now"] <= before["now"]:
            before, self.tracks, self.services = _NOTHING, {}, {}
            self.reasons, self.interfaces = Trends(), {}
        elapsed_s = status["now"] - before["now"]
        self._follow_backends(status, elapsed_s)
        services, backends = self._sum_up(status)
        spared = status.get("spared", {})
        counted = self.reasons.take(
            {**status["verdicts"], **{f"spared {name}": spared[name] for name in spared}}, elapsed_s
        )
        self.last = status
        self.rates = Rates(
            forwarded=_forwarded(before["forwarded"], status["forwarded"], elapsed_s),
            services=services,
            backends=backends,
            verdicts={name: counted[name] for name in status["verdicts"]},
            spared={name: counted[f"spared {name}"] for name in spared},
            interfaces=self._follow_interfaces(status, elapsed_s),
            reasons=dict(self.reasons.histories),
            settled=self.settling.take({one["name"]: unsettled(one) for one in status["services"]}),
        )
        return self.rates

    def _follow_interfaces(self, status: Status, elapsed_s: float) -> dict[str, dict[str, float | None]]:
        """Return how fast the counters of each interface grow."""
        rates = {}
        for nic in nics_of(status):
            trends = self.interfaces.setdefault(nic["name"], Trends())
            rates[nic["name"]] = trends.take({name: nic.get(name) for name in NIC_COUNTERS}, elapsed_s)
        return rates

    def _follow_backends(self, status: Status, elapsed_s: float) -> None:
        """Bring the tracks to this status; those of backends that are gone go too."""
        old, self.tracks = self.tracks, {}
        now = status["now"]
        for service in status["services"]:
            name = service["name"]
            for backend in service["backends"]:
                key = name, backend["name"]
                counters = backend["packets"], backend["bytes"], backend["connections"]
                track = old.get(key)
                if track is None or track.address != backend["address"]:
                    track = _Track(backend["address"], counters)
                else:
                    track.take(counters, now, elapsed_s)
                self.tracks[key] = track

    def _sum_up(self, status: Status) -> tuple[dict[str, ServiceRates], Mapping[tuple[str, str], BackendRates]]:
        """Return what each service and each of its backends did."""
        old, self.services = self.services, {}
        sums: dict[str, ServiceRates] = {}
        shares: dict[str, _Shares] = {}
        for service in status["services"]:
            name = service["name"]
            tracks = [self.tracks[name, b["name"]] for b in service["backends"]]
            asked = weight_shares(service["backends"])
            memory = self.services[name] = old.get(name) or _ServiceTrack(asked)
            # Shares over a time in which a weight or a state changed, or a counter began anew, look wrong.
            if memory.weight_shares != asked or any(track.rate is None for track in tracks):
                memory.weight_shares = asked
                for track in tracks:
                    track.forget()
            rate = _sum([track.rate for track in tracks])
            if rate is not None:
                memory.history.append(rate.packets)
            sums[name] = ServiceRates(rate, memory.history)
            connections, packets = (sum(getattr(one, what) for one in tracks) for what in ("connections", "packets"))
            shares[name] = _Shares(asked, connections, packets)
        return sums, _Backends(self.tracks, shares)


def nics_of(status: Status) -> list[dict[str, Any]]:
    """Return the interfaces of a status."""
    found: list[dict[str, Any]] = status.get("interfaces") or [status["interface"]]
    return found


def unsettled(service: dict[str, Any]) -> int:
    """Return how many of a service's slots are moving or have moved."""
    return int(service.get("moving_slots", 0)) + int(service.get("moved_slots", 0))


def weight_shares(backends: list[dict[str, Any]]) -> dict[str, float]:
    """Return by name the share of new flows that each weight asks for: 0 for backends that get none."""
    receiving = {b["name"]: b["weight"] if b["serving"] else 0 for b in backends}
    total = sum(receiving.values()) or 1
    return {name: weight / total for name, weight in receiving.items()}


class _Shares(NamedTuple):
    """What a service's weights ask for, and the sums over its backends in the window."""

    asked: dict[str, float]
    connections: int
    packets: int


@dataclass(frozen=True, slots=True)
class _Backends(Mapping[tuple[str, str], BackendRates]):
    """The rates of all backends, each computed when it is looked at: of 10,000 a page shows 50."""

    tracks: dict[tuple[str, str], _Track]
    shares: dict[str, _Shares]

    def __getitem__(self, key: tuple[str, str]) -> BackendRates:
        track, (asked, connections, packets) = self.tracks[key], self.shares[key[0]]
        total, expected = connections or packets, asked[key[1]]
        share = (track.connections if connections else track.packets) / total if total else None
        # Connections fall on backends independently (binomially); packets come in flows, so for them nothing
        # can be said.
        deviation = (expected * (1 - expected) / connections) ** 0.5 if connections else 1.0
        skewed = share is not None and abs(share - expected) > _NOISE * deviation + _RING_NOISE * expected
        return BackendRates(track.rate, track.history, share, expected, skewed)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.tracks)

    def __len__(self) -> int:
        return len(self.tracks)


def _sum(rates: list[Rate | None]) -> Rate | None:
    """Return the sum of the known rates, None when none is known."""
    known = [rate for rate in rates if rate is not None]
    if not known:
        return None
    return Rate(
        sum(rate.packets for rate in known),
        sum(rate.bits for rate in known),
        sum(rate.connections for rate in known),
    )


def _forwarded(before: dict[str, int], after: dict[str, int], elapsed_s: float) -> Rate | None:
    """Return the rate of everything forwarded."""
    packets, size, connections = (
        per_second(before.get(name), after[name], elapsed_s) for name in ("packets", "bytes", "connections")
    )
    if packets is None or size is None or connections is None:
        return None
    return Rate(packets, 8 * size, connections)
