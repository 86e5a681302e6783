"""Counters by their names in C, summed over the CPUs: maps of one element, a struct of 64-bit numbers on each CPU."""

from __future__ import annotations

import ctypes
from typing import Any

from xdplb.dataplane import syscall


def read_counters(fd: int, leaf: Any) -> dict[str, int]:
    """Return what a map counted; `leaf` is its value's type."""
    size = ctypes.sizeof(leaf) * syscall.possible_cpus()
    words = memoryview(syscall.lookup_array(fd, 1, size)).cast("Q")
    names = [name for name, _ in leaf._fields_]
    return {name: sum(words[i :: len(names)]) for i, name in enumerate(names)}
