"""Backends by address, and names of interfaces."""

from __future__ import annotations

from tests.rig.boxes import B1, box


def test_a_box_knows_its_backends_and_interfaces_by_name() -> None:
    assert box().backends_by_address[B1] == ["web/b1"]
    assert (box().name_of(2), box().name_of(9)) == ("eth0", "interface number 9")
