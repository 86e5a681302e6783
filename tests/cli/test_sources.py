"""`xdplb sources`: who sends most, as a table."""

from __future__ import annotations

from tests.cli.test_main import xdplb
from xdplb.cli.sources import table


def test_sources_are_a_table_with_the_same_columns_for_all() -> None:
    head, *rows = table(
        [
            {"source": "198.51.100.7", "service": "web", "reason": None, "packets": 1234567},
            {"source": "2001:db8::1", "service": None, "reason": "passed_icmp", "packets": 3},
        ]
    )

    assert head.split() == ["PACKETS", "SOURCE", "SERVICE", "REASON"]
    assert [row.split() for row in rows] == [
        ["1,234,567", "198.51.100.7", "web", "forwarded"],
        ["3", "2001:db8::1", "-", "passed_icmp"],
    ]


def test_without_a_daemon_that_is_said() -> None:
    done = xdplb("--name", "nobody", "sources")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no daemon answers at" in done.stderr
