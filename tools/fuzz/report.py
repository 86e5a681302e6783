"""What a whole run of the fuzzer met, and what it says at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from xdplb.dataplane.plane import SWITCHES
from xdplb.tables import Way

REASONS = (
    *("passed_not_ip", "passed_vlan", "passed_truncated", "passed_protocol", "passed_icmp", "passed_fragment"),
    *("passed_no_service", "answered_echo", "answered_too_big", "answered_ttl", "dropped_unanswered"),
    *("dropped_malformed", "dropped_fragment", "dropped_blocked", "dropped_packet_rate", "dropped_connection_rate"),
    *("dropped_service_rate", "dropped_no_backend", "dropped_no_headroom", "dropped_no_egress"),
)
NEVER = {
    "dropped_no_headroom": "BPF_PROG_TEST_RUN always leaves 256 bytes in front of a frame",
}
MEMORY = (
    "flows born",
    "flows learned",
    "fragments kept",
    "accounts kept",
    "attempts",
    "progress",
    "spared",
    "in a later state",
    "of several buffers",
)


@dataclass(slots=True)
class Found:
    """A difference as people read it, and where its input was kept."""

    spec: int
    config: int
    text: str
    kept: str = ""


@dataclass(slots=True)
class Report:
    """Sums over all specs."""

    packets: int = 0
    configs: int = 0
    specs: int = 0
    seconds: float = 0.0
    met: Counter[str] = field(default_factory=Counter)
    on: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Add what another part met."""
        self.packets += other.packets
        self.configs += other.configs
        self.specs += other.specs
        self.met.update(other.met)
        self.on.update(other.on)
        self.found += other.found

    def one_sided(self) -> list[str]:
        """Return the switches that were not seen both on and off."""
        return [name for name in SWITCHES if not 0 < self.on[name] < self.specs]

    def unmet(self) -> list[str]:
        """Return the reasons and ways that no frame met although it could."""
        return [name for name in (*REASONS, *Way, *MEMORY) if not self.met[name] and name not in NEVER]

    def lines(self, seed: int) -> list[str]:
        """Return what is to be read at the end."""
        rate = self.packets / self.seconds if self.seconds else 0
        names = [*REASONS, *Way, *MEMORY]
        cells = [f"{name:<24}{self.met[name]:>12,}" for name in names]
        half = -(-len(cells) // 2)
        out = [f"{left}   {right}" for left, right in zip(cells[:half], [*cells[half:], ""], strict=False)]
        out += [f"{name} was not met: {why}" for name, why in NEVER.items() if not self.met[name]]
        out += [f"NOT MET: {', '.join(self.unmet())}"] if self.unmet() else []
        out += [f"only on or only off: {', '.join(self.one_sided())}"] if self.one_sided() else []
        for found in self.found:
            out += [f"DIFFERENCE in spec {found.spec}, configuration {found.config}: {found.text}"]
            out += [f"  kept as {found.kept}"] if found.kept else []
        out += [
            f"{self.packets:,} packets, {self.configs} configurations, {self.specs} specs, seed {seed}: "
            f"{rate:,.0f} packets/s in {self.seconds:.1f} s, {len(self.found)} differences"
        ]
        return out
