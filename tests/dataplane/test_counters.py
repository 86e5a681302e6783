"""Counters of all CPUs become one number for each name."""

from __future__ import annotations

import ctypes
import os

from tests.rig.xdp import Xdp
from xdplb.dataplane import layout, syscall
from xdplb.dataplane.counters import read_counters


def test_counters_are_summed_over_the_cpus(xdp: Xdp) -> None:
    leaf, cpus = layout.build(xdp.kernel.pinned.maps["spared"]["value"]), syscall.possible_cpus()
    on_each = (ctypes.c_uint64 * 4)(1, 20, 300, 4000)
    fd = syscall.get(xdp.kernel.pinned.folder / "spared")
    syscall.update(fd, bytes(4), bytes(on_each) * cpus)
    expected = {"blocked": cpus, "packet_rate": 20 * cpus, "connection_rate": 300 * cpus, "service_rate": 4000 * cpus}
    assert read_counters(fd, leaf) == expected
    os.close(fd)
