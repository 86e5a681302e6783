"""A fake of the daemon, for tests and pictures: believable statuses, the same ones every time.

Time passes only by `advance`. What a backend is sent follows its state and weight, with a wave on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

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

    def set_state(self, service: str, backend: str, state: str, reason: str) -> None:
        """Let a backend go up, down, or wherever its checks or an operator take it."""
        for one in self.services:
            for other in one["backends"]:
                if (one["name"], other["name"]) == (service, backend):
                    other |= {"state": state, "reason": reason, "serving": state == "up"}

    def status(self) -> Status:
        """Return what GET /v1/status would answer now; later changes do not touch it."""
        services = [{**one, "backends": [dict(other) for other in one["backends"]]} for one in self.services]
        return {
            "version": "0.1.0",
            "name": "main",
            "pid": 4711,
            "now": _STARTED + self.uptime_s,
            "started": _STARTED,
            "config": {"path": "/etc/xdplb.toml", "changes": []},
            "interface": {
                "name": "eth0",
                "index": 2,
                "mode": "native",
                "program_id": 12,
                "link_id": 3,
                "driver": "ice",
                "mtu": 1600,
                "rx_packets": self.forwarded["packets"] + sum(self.verdicts.values()),
                "xdp_tx_errors": 0,
                "compiled": ["vip4", "vip6", "ipip4", "ipip6"],
                "map_bytes": 1_310_720,
            },
            "reconcile": {"at": _STARTED + 0.1, "writes": 0, "adopted": True, "took_s": 0.003, "error": None},
            "forwarded": dict(self.forwarded),
            "verdicts": dict(self.verdicts),
            "services": services,
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
    return {"name": name, "vips": vips, "ring_size": 1024, "backends": backends}


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
    }
