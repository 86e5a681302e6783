"""What the change's way knows of a data plane: `Kernel` is the real one, `Fake` the working stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from xdplb.tables import Capacity, Change, Tables, Traffic


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything that is fixed when the program is compiled: what it can do, room, seed and key."""

    vip4: bool
    vip6: bool
    outer4: bool
    outer6: bool
    capacity: Capacity
    seed: int
    hash_key: int

    def features(self) -> list[str]:
        """Return the names of what is compiled in."""
        return [name for name, value in asdict(self).items() if value is True]

    def sizes(self) -> dict[str, int]:
        """Return the constants that decide how the maps look and where a VIP lies in them."""
        return {
            "ROWS_BITS": self.capacity.rows_bits,
            "SLOTS": self.capacity.slots,
            "BACKENDS": self.capacity.backends,
            "SERVICES_SEED": self.seed,
        }

    def defines(self) -> dict[str, int]:
        """Return every constant of the compilation."""
        switches = {f"USE_{name.upper()}": int(getattr(self, name)) for name in ("vip4", "vip6", "outer4", "outer6")}
        return {**self.sizes(), **switches, "HASH_KEY": self.hash_key}


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
