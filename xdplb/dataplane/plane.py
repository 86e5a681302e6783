"""What the change's way knows of a data plane: `Kernel` is the real one, `Fake` the working stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Protocol

from xdplb.tables import Capacity, Change, Tables, Traffic

SWITCHES = (
    *("vip4", "vip6", "ipip4", "ipip6", "gue4", "gue6", "l2", "local", "vlan", "sctp", "ranges", "any", "networks"),
    *("client", "prefixes", "limits", "redirect", "frags", "second_chance", "passive", "trace"),
)


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything that is fixed when the program is compiled: what it can do, numbers, room, seed and key.

    What each switch stands for: the head of bpf/balancer.c.
    """

    capacity: Capacity
    seed: int
    hash_key: int
    vip4: bool = False
    vip6: bool = False
    ipip4: bool = False
    ipip6: bool = False
    gue4: bool = False
    gue6: bool = False
    l2: bool = False
    local: bool = False
    vlan: bool = False
    sctp: bool = False
    ranges: bool = False
    any: bool = False
    networks: bool = False
    client: bool = False
    prefixes: bool = False
    limits: bool = False
    redirect: bool = False
    frags: bool = False
    second_chance: bool = False
    passive: bool = False
    trace: bool = False  # only while somebody traces
    source4_bits: int = 0  # of an outer source, that tell flows apart
    source6_bits: int = 0
    outer_df: bool = True
    block_counts_only: bool = False
    answer_cost: int = field(default=15_625)  # units of 64 ns for each ICMP answer on each CPU: 1,000/s

    def features(self) -> list[str]:
        """Return the names of what is compiled in."""
        return [name for name in SWITCHES if getattr(self, name)]

    def sizes(self) -> dict[str, int]:
        """Return the constants that decide how the maps look and where a VIP lies in them."""
        room = {name.upper(): size for name, size in asdict(self.capacity).items()}
        return {**room, "SERVICES_SEED": self.seed}

    def defines(self) -> dict[str, int]:
        """Return every constant of the compilation."""
        switches = {f"USE_{name.upper()}": int(getattr(self, name)) for name in SWITCHES}
        numbers = ("hash_key", "source4_bits", "source6_bits", "outer_df", "block_counts_only", "answer_cost")
        return {**self.sizes(), **switches, **{name.upper(): int(getattr(self, name)) for name in numbers}}

    def union(self, other: Spec) -> Spec:
        """Return `other` in the tables of this one, or such with more room, with what this one can do besides."""
        switches = {name: getattr(self, name) or getattr(other, name) for name in SWITCHES}
        return replace(other, capacity=self.capacity.union(other.capacity), seed=self.seed, **switches)


def spec_from(raw: dict[str, Any]) -> Spec:
    """Return the spec that `asdict` was given. Raises KeyError, TypeError when it is of another version."""
    known = {item.name for item in fields(Spec)}
    if set(raw) != known:
        raise KeyError(f"not the fields of this version: {sorted(set(raw) ^ known)}")
    return Spec(**{**raw, "capacity": Capacity(**raw["capacity"])})


class Plane(Protocol):
    """Tables that can be read and changed, and the counters behind them."""

    @property
    def spec(self) -> Spec:
        """What the program was compiled with."""

    def tables(self) -> Tables:
        """Return what lies in the tables now."""

    def apply(self, changes: Sequence[Change]) -> int:
        """Make the changes in their order; return how many map entries were written."""

    def traffic(self) -> dict[int, Traffic]:
        """Return what was sent to each backend, by identity."""

    def verdicts(self) -> dict[str, int]:
        """Return how many packets were not forwarded, by reason."""
