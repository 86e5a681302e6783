"""Rows as bytes: what is written is read back the same."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.rig.xdp import Xdp
from xdplb.dataplane import layout
from xdplb.dataplane.rows import backend_leaf, read_backend
from xdplb.tables import BackendRow, Way

ROW = BackendRow(bytes(range(14)), ip_address("10.0.2.2"), ip_address("10.0.11.2"), 7, 5, gue_port=6080, vlan=100)
SIX = replace(ROW, source=ip_address("fd00:2::2"), address=ip_address("fd00:11::2"), way=Way.GUE6, device=3, up=False)


@pytest.mark.parametrize("row", [ROW, SIX, *(replace(ROW, way=way) for way in Way)])
def test_a_row_is_read_back_as_it_was_written(xdp: Xdp, row: BackendRow) -> None:
    leaf_type = layout.build(xdp.kernel.pinned.maps["backends"]["value"])
    leaf = backend_leaf(leaf_type, row)
    assert len(bytes(leaf)) == 64
    assert read_backend(leaf_type.from_buffer_copy(bytes(leaf)), row.identity) == row
