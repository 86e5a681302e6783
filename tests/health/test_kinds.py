"""What a check asks are values: equal ones are one probe."""

from __future__ import annotations

from xdplb.health.kinds import Http
from xdplb.model import Check


def test_equal_checks_are_one() -> None:
    assert len({Check(80, ask=Http(path="/a")), Check(80, ask=Http(path="/a")), Check(80, ask=Http())}) == 2
