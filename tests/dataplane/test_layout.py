"""Types survive being written down."""

from __future__ import annotations

import ctypes
import json

from tests.rig.xdp import Xdp
from xdplb.dataplane import layout


class Inner(ctypes.Structure):
    _fields_ = (("a", ctypes.c_uint16), ("b", ctypes.c_uint8 * 6))


class Outer(ctypes.Structure):
    _fields_ = (("inner", Inner), ("c", ctypes.c_uint64), ("d", Inner * 2))


def test_a_type_is_rebuilt_with_the_same_offsets() -> None:
    built = layout.build(json.loads(json.dumps(layout.describe(Outer))))

    assert ctypes.sizeof(built) == ctypes.sizeof(Outer)
    for name in ("inner", "c", "d"):
        assert getattr(built, name).offset == getattr(Outer, name).offset


def test_the_compilers_structs_have_no_holes_and_rows_of_a_cache_line(xdp: Xdp) -> None:
    for name, described in xdp.kernel.pinned.maps.items():
        assert "__pad" not in json.dumps(described), f"struct of map {name} has a hole"
    for name in ("services", "backends"):
        assert ctypes.sizeof(layout.build(xdp.kernel.pinned.maps[name]["value"])) == 64
