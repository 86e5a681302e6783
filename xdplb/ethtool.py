"""What drivers say of a NIC: offloads, queues, rings, counters (ethtool(8)); read only.

Beside `net`, since it asks by ioctl, and about things that only the doctor wants to know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool

_Found = TypeVar("_Found")


def _ask(name: str, question: Callable[[Any], _Found]) -> _Found | None:
    try:
        with contextlib.closing(IoctlEthtool(name)) as device:
            return question(device)
    except (OSError, EthtoolError):
        return None  # no such interface, or its driver has no word for that


def read_features(name: str) -> frozenset[str] | None:
    """Return the offloads that are on, by the kernel's names; None: not known."""
    return _ask(name, lambda device: frozenset(str(name) for name, on, *_ in device.get_features() if name and on))


def read_channels(name: str) -> dict[str, int] | None:
    """Return numbers of queues: rx_count, combined_count, max_rx, max_combined, ...; None: not known."""
    return _ask(name, lambda device: {str(key): int(value) for key, value in device.get_channels().items()})


def read_ring(name: str) -> tuple[int, int] | None:
    """Return how many packets a receive ring has room for, and may have; None: not known."""
    ring = _ask(name, lambda device: dict(device.get_rings().items()))
    return (int(ring["rx"]), int(ring["rx_max"])) if ring and ring["rx_max"] else None


def read_counters(name: str) -> dict[str, int]:
    """Return the driver's own counters by name; a driver that counts nothing has none."""
    return _ask(name, lambda device: {str(key): int(value) for key, value in device.get_statistics()}) or {}
