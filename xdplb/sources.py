"""Who sends most, counted from traced packets. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xdplb.headers import read_headers
from xdplb.traced import Names, Record


class Sources:
    """A count by source, service, and what became of the packets."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._packets: Counter[tuple[str, str | None, str | None]] = Counter()
        self.records = 0

    def add(self, record: Record, names: Names, stands_for: int) -> None:
        """Count a record that stands for so many packets."""
        source = read_headers(record.arrived).source
        self._packets[source, names.services.get(record.service), names.reason(record.reason)] += stands_for
        self.records += 1

    def most(self, count: int, lost: int) -> list[dict[str, Any]]:
        """Return those who sent most, first things first; records that were lost are taken to be like the others."""
        scale = (self.records + lost) / max(1, self.records)
        ordered = sorted(self._packets.items(), key=lambda item: (-item[1], *map(str, item[0])))
        return [
            {
                "source": source,
                "service": service,
                "reason": reason,
                "forwarded": reason is None,
                "packets": round(packets * scale),
            }
            for (source, service, reason), packets in ordered[:count]
        ]
