"""What does not need a fault: a box without any interface of note. Programs, peers and pins: test_look."""

from __future__ import annotations

import pytest

from xdplb.doctor import devices


@pytest.mark.root
def test_what_is_not_there_has_no_owner_and_no_name() -> None:
    assert devices.owner_of(None, 1) == ""
    assert devices.owner_of(1 << 30, 1) == ""
    assert devices.program_of(1 << 30, 1) == ("unknown", False)


def test_a_veth_that_is_none_has_no_other_end() -> None:
    assert "has vanished" in str(devices.find_peer(1 << 30))
