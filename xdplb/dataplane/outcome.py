"""What one run of the program did: the action, what it counted, and every word of its tables that it changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ACTIONS = ("aborted", "drop", "pass", "tx", "redirect")  # enum xdp_action
LINES = {  # bytes in which changes are told: an element of the table
    "flows": 64,
    "clients": 64,
    "limits": 64,
    "attempts": 8,
    "progress": 16,
}


@dataclass(frozen=True, slots=True)
class Changed:
    """An element of a table, before and after. Of an array, `key` is its number."""

    key: int | bytes
    before: bytes
    after: bytes

    @property
    def words(self) -> list[tuple[int, int, int]]:
        """Return (number, before, after) of each word of 64 bits that is another one."""
        pairs = zip(_words(self.before), _words(self.after), strict=True)
        return [(number, before, after) for number, (before, after) in enumerate(pairs) if before != after]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run. `reason` None: the packet was forwarded, to the backend of that index. `spared`: what only counts."""

    action: str
    frame: bytes
    reason: str | None
    backend: int | None
    spared: tuple[str, ...] = ()
    changes: Mapping[str, tuple[Changed, ...]] = field(default_factory=dict)


def _words(raw: bytes) -> list[int]:
    return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
