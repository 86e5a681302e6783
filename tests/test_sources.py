"""Who sends most, as far as a sample tells."""

from __future__ import annotations

from dataclasses import replace

from tests.rig.packets import tcp
from tests.test_traced import REASONS, RECORD, SERVICES
from xdplb.contract import CONSTANTS
from xdplb.sources import Sources
from xdplb.traced import Record, names_of

NAMES = names_of(SERVICES, {}, REASONS)


def record(source: str, dropped: bool = False) -> Record:
    reason = CONSTANTS["TRACE_REASONS"] + 1 if dropped else CONSTANTS["TRACE_FORWARDED"]
    return replace(RECORD, arrived=bytes(tcp(src=source)), reason=reason)


def test_those_who_send_most_come_first_and_each_fate_counts_by_itself() -> None:
    sources = Sources()
    for source, dropped, stands_for in (("198.51.100.1", False, 10), ("198.51.100.2", True, 15)) * 2:
        sources.add(record(source, dropped), NAMES, stands_for)
    sources.add(record("198.51.100.1", True), NAMES, 1)

    assert sources.most(2, 0) == [
        {"source": "198.51.100.2", "service": "web", "reason": "dropped_blocked", "forwarded": False, "packets": 30},
        {"source": "198.51.100.1", "service": "web", "reason": None, "forwarded": True, "packets": 20},
    ]


def test_what_was_lost_is_taken_to_be_like_the_rest() -> None:
    sources = Sources()
    sources.add(record("198.51.100.1"), NAMES, 10)
    assert [row["packets"] for row in sources.most(5, 3)] == [40]
    assert Sources().most(5, 3) == []
