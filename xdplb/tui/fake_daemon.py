"""A fake of the daemon, for tests and pictures: believable answers, the same ones every time.

Time passes only by `advance`. What a backend is sent follows its state and weight, with a wave on it. Orders are
carried out as the daemon would, but for its ring: here slots follow the weights exactly.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from xdplb.errors import ConfigError, DaemonError
from xdplb.tui.rates import Status, weight_shares

_STARTED = 1_700_000_000.0
_PACKET_BYTES = 830
_PACKETS_PER_CONNECTION = 90

_VERDICTS = {  # per second
    "passed_not_ip": 0.6,
    "passed_protocol": 2.0,
    "passed_fragment": 0.0,
    "passed_options": 0.0,
    "passed_truncated": 0.0,
    "passed_no_service": 38.0,
    "dropped_malformed": 0.0,
    "dropped_blocked": 0.0,
    "dropped_packet_rate": 0.0,
    "dropped_no_backend": 0.0,
    "dropped_no_headroom": 0.0,
}


@dataclass(slots=True)
class FakeDaemon:
    """Services as the status has them, and what passes through them: `packets_per_s` for each service."""

    services: list[dict[str, Any]]
    packets_per_s: float = 1_240_000.0
    uptime_s: float = 0.0
    forwarded: dict[str, int] = field(default_factory=lambda: {"packets": 0, "bytes": 0, "connections": 0})
    verdicts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_VERDICTS, 0))
    spared: dict[str, int] = field(default_factory=lambda: {"blocked": 0, "packet_rate": 0})
    happened: list[dict[str, Any]] = field(default_factory=list)
    talkers: list[dict[str, Any]] | None = None  # None: this daemon cannot tell who sends
    read_only: bool = False  # refuse changes, as to somebody whose role is to read
    warnings: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        for service in self.services:
            self._give_slots(service)

    def _give_slots(self, service: dict[str, Any]) -> int:
        """Let the ring follow weights and states; return how many slots moved."""
        moved = 0
        for name, share in weight_shares(service["backends"]).items():
            backend = self._find(service["name"], name)
            slots = round(share * service["ring_size"])
            moved += max(0, backend["slots"] - slots)
            backend["slots"] = slots
        return moved

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.uptime_s += seconds
        for service in self.services:
            shares = weight_shares(service["backends"])
            udp = service["vips"][0].endswith("/udp")
            for number, backend in enumerate(service["backends"]):
                wave = 1 + 0.12 * math.sin(self.uptime_s / 2.1 + number) + 0.05 * math.sin(self.uptime_s * 1.7)
                packets = round(self.packets_per_s * shares[backend["name"]] * wave * seconds)
                self._send(backend, packets, 0 if udp else packets // _PACKETS_PER_CONNECTION)
        for name, per_s in _VERDICTS.items():
            self.verdicts[name] += round(per_s * seconds)

    def _send(self, backend: dict[str, Any], packets: int, connections: int) -> None:
        """Count packets that were sent to a backend."""
        sent = {"packets": packets, "bytes": packets * _PACKET_BYTES, "connections": connections}
        for name, amount in sent.items():
            backend[name] += amount
            self.forwarded[name] += amount

    def _find(self, service: str, backend: str) -> dict[str, Any]:
        """Return a backend. Raises ConfigError."""
        for one in self.services:
            for other in one["backends"]:
                if (one["name"], other["name"]) == (service, backend):
                    found: dict[str, Any] = other
                    return found
        raise ConfigError("backend", f"{backend!r} is not there", "see `xdplb status`")

    def set_state(self, service: str, backend: str, state: str, reason: str) -> None:
        """Let a backend go up, down, or wherever its checks or an operator take it."""
        one = self._find(service, backend)
        owner = next(other for other in self.services if other["name"] == service)
        was = one["state"]
        one |= {"state": state, "reason": reason, "serving": state == "up"}
        for check in one["checks"]:
            up = state in ("up", "draining")
            check |= {"up": up, "since": self.uptime_s, "cause": reason, "last": reason, "at": self.uptime_s}
        owner["moving_slots"] += self._give_slots(owner)
        self.tell(service=service, backend=backend, was=was, state=state, cause=reason)

    def tell(self, **event: Any) -> None:
        """Let something happen."""
        with self.news:
            self.happened.append({"number": len(self.happened) + 1, "at": _STARTED + self.uptime_s, **event})
            self.news.notify_all()

    def events(self, follow: bool = False, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield what happened; with `follow`, for ever."""
        while True:
            yield from self.happened[after:]
            after = max(after, len(self.happened))
            if not follow:
                return
            with self.news:
                while len(self.happened) <= after:
                    self.news.wait()

    def drain_backend(
        self, backend: str, service: str | None, for_s: float | None = None, plan: bool = False
    ) -> dict[str, Any]:
        """Send no new flows to a backend."""
        change = {"state": "draining", "serving": False, "reason": "an operator asked for no new flows"}
        return self._change(str(service), backend, change, plan)

    def undrain_backend(self, backend: str, service: str | None, plan: bool = False) -> dict[str, Any]:
        """Take a drain back."""
        change = {"state": "up", "serving": True, "reason": "connected in 0.2 ms"}
        return self._change(str(service), backend, change, plan)

    def weigh_backend(self, backend: str, service: str | None, weight: int, plan: bool = False) -> dict[str, Any]:
        """Give a backend another weight."""
        if weight > 65535:
            raise ConfigError("weight", f"{weight} is too large", "give 0 to 65535")
        return self._change(str(service), backend, {"weight": weight}, plan)

    def _change(self, service: str, backend: str, change: dict[str, Any], plan: bool) -> dict[str, Any]:
        """Change a backend, or with `plan` say what that would do."""
        one = self._find(service, backend)
        if self.read_only:
            raise DaemonError("your role is read: it changes nothing", 403)
        owner = next(other for other in self.services if other["name"] == service)
        before = {name: one[name] for name in change}
        one |= change
        moved = self._give_slots(owner)
        if plan:
            one |= before
            self._give_slots(owner)
            kind = "changed" if before != change else "kept"
            flows = {"remembered": one["flows_left"], "in_transition": 0}
            told = {"name": service, "change": kind, "slots_moved": moved, "ring_size": owner["ring_size"]}
            return {
                "services": [{**told, "flows": flows, "backends": []}],
                "writes": moved,
                "settings": [],
                "unknown": [],
            }
        owner["moving_slots"] += moved
        if "state" in change:
            self.tell(service=service, backend=backend, was=before["state"], state=one["state"], cause=one["reason"])
        told = {"service": service, "name": backend, "state": one["state"], "reason": one["reason"]}
        return {"backends": [told], "writes": moved + 1, "took_ms": 3.1}

    def sources(self, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return who sends most."""
        if self.talkers is None:
            raise DaemonError("GET /v1/sources: Not Found", 404)
        return self.talkers

    def status(self) -> Status:
        """Return what GET /v1/status would answer now; later changes do not touch it."""
        services = [
            {**one, "backends": [{**other, "checks": [dict(c) for c in other["checks"]]} for other in one["backends"]]}
            for one in self.services
        ]
        nic = self._nic()
        return {
            "version": "0.1.0",
            "name": "main",
            "pid": 4711,
            "now": _STARTED + self.uptime_s,
            "started": _STARTED,
            "booted": _STARTED,
            "config": {"path": "/etc/xdplb.toml", "changes": []},
            "interface": nic,
            "interfaces": [nic],
            "warnings": list(self.warnings),
            "unconfirmed": None,
            "guard": {"blocked": 3, "allowed": 1, "words": 12, "room": 4096},
            "spared": dict(self.spared),
            "reconcile": {"at": _STARTED + 0.1, "writes": 0, "adopted": True, "took_s": 0.003, "error": None},
            "forwarded": dict(self.forwarded),
            "verdicts": dict(self.verdicts),
            "services": services,
        }

    def _nic(self) -> dict[str, Any]:
        """Return the interface as it stands in a status."""
        return {
            "name": "eth0",
            "index": 2,
            "mode": "native",
            "program_id": 12,
            "link_id": 3,
            "driver": "ice",
            "mtu": 1600,
            "rx_packets": self.forwarded["packets"] + sum(self.verdicts.values()),
            "tx_packets": self.forwarded["packets"],
            "xdp_tx_errors": 0,
            "up": True,
            "carrier": True,
            "compiled": ["vip4", "vip6", "ipip4", "ipip6"],
            "map_bytes": 1_310_720,
        }


def small() -> FakeDaemon:
    """Return three backends of one service that has a VIP of each family."""
    backends = [make_backend(f"b{number}", f"10.0.1{number}.2") for number in (1, 2, 3)]
    return FakeDaemon([make_service("web", ["192.0.2.10:80/tcp", "[2001:db8::10]:80/tcp"], backends)])


def large(backends: int = 1000) -> FakeDaemon:
    """Return many backends: a third of them serve UDP, one in fifty is down."""
    tcp, first = backends - backends // 3, int(IPv4Address("10.1.0.1"))
    made = [make_backend(f"b{n + 1}", str(IPv4Address(first + n)), 100 + n % 3 * 50) for n in range(backends)]
    for one in made[24::50]:
        one |= {"state": "down", "serving": False, "reason": f"tcp {one['address']}:80 refused the connection"}
    return FakeDaemon(
        [
            make_service("web", ["192.0.2.10:80/tcp", "[2001:db8::10]:80/tcp"], made[:tcp]),
            make_service("dns", ["192.0.2.53:53/udp"], made[tcp:]),
        ]
    )


def make_service(name: str, vips: list[str], backends: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a service as it stands in a status."""
    slots = {"ring_size": 1024, "moving_slots": 0, "moved_slots": 0}
    return {"name": name, "vips": vips, **slots, "backends": backends}


def make_backend(name: str, address: str, weight: int = 100) -> dict[str, Any]:
    """Return a backend that is up, as it stands in a status, with all its counters at 0."""
    return {
        "name": name,
        "address": address,
        "weight": weight,
        "state": "up",
        "serving": True,
        "fallback": None,
        "reason": f"tcp {address}:80 connected in 0.2 ms",
        "slots": 0,
        "packets": 0,
        "bytes": 0,
        "connections": 0,
        "flows_left": 0,
        "checks": [make_check(address)],
    }


def make_check(address: str) -> dict[str, Any]:
    """Return a check that passes, as it stands in a status."""
    cause = f"tcp {address}:80 connected in 0.2 ms"
    times = {"up": True, "since": 0.0, "cause": cause, "last": cause, "at": 0.0}
    return {"kind": "tcp", "through": "direct", "to": f"{address}:80", **times, "warning": ""}
