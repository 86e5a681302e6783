"""A backend's row as it lies in the kernel, `struct backend`: in the balancer's table and in that of its probes."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any

from xdplb.contract import CONSTANTS
from xdplb.hashing import port_word, words
from xdplb.model import Address
from xdplb.tables import BackendRow, Way

_WAYS = {CONSTANTS[f"WAY_{way.name}"]: way for way in Way}
_NUMBERS = {way: number for number, way in _WAYS.items()}


def backend_leaf(leaf_type: Any, row: BackendRow) -> Any:
    """Return a row as the compiler's type of it."""
    leaf = leaf_type()
    leaf.ethernet[:] = row.ethernet
    leaf.source.high, leaf.source.low = words(row.source)
    leaf.address.high, leaf.address.low = words(row.address)
    leaf.way, leaf.up, leaf.checksum, leaf.mtu = _NUMBERS[row.way], row.up, row.checksum, row.mtu
    leaf.gue_port, leaf.vlan = port_word(row.gue_port), port_word(row.vlan)
    leaf.egress, leaf.device = row.egress, row.device
    return leaf


def read_backend(leaf: Any, identity: int) -> BackendRow:
    """Return what lies in the kernel, with the identity that is kept beside it."""
    return BackendRow(
        bytes(leaf.ethernet),
        _read_address(leaf.source.high, leaf.source.low),
        _read_address(leaf.address.high, leaf.address.low),
        leaf.egress,
        identity,
        bool(leaf.up),
        _WAYS[leaf.way],
        leaf.mtu,
        port_word(leaf.gue_port),
        port_word(leaf.vlan),
        leaf.device,
    )


@lru_cache(maxsize=65536)
def _read_address(high: int, low: int) -> Address:
    address = IPv6Address(high.to_bytes(8, "little") + low.to_bytes(8, "little"))
    return address.ipv4_mapped or address
