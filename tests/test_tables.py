"""Rows and changes as values."""

from __future__ import annotations

from ipaddress import ip_address

from scapy.layers.inet import IP

from xdplb.tables import BackendRow, Capacity, ClearBackend, PutSlots, Traffic, entries_written


def test_checksum_base_completes_to_a_right_header() -> None:
    row = BackendRow(bytes(14), ip_address("10.0.2.2"), ip_address("10.0.11.2"), 1, 1)
    header = IP(src="10.0.2.2", dst="10.0.11.2", flags="DF", id=0, ttl=64, proto=4, len=60, tos=0xB8)
    total = row.checksum + 0xB800 + 0x40 + int.from_bytes((60).to_bytes(2, "big"), "little") + (4 << 8)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)

    assert (~total & 0xFFFF).to_bytes(2, "little") == bytes(header)[10:12]


def test_row_with_an_ipv6_backend_has_no_checksum() -> None:
    row = BackendRow(bytes(14), ip_address("fd00::1"), ip_address("fd00::2"), 1, 1)
    assert row.checksum == 0


def test_every_slot_is_one_entry() -> None:
    assert entries_written([PutSlots(9, {1: 2, 3: 4}), ClearBackend(1)]) == 3


def test_room_holds_less_in_every_dimension() -> None:
    assert Capacity(12, 100, 10).holds(Capacity(11, 100, 9))
    assert not Capacity(12, 100, 10).holds(Capacity(12, 100, 11))
    assert Capacity(12, 100, 10).union(Capacity(11, 200, 9)) == Capacity(12, 200, 10)


def test_traffic_adds_up() -> None:
    assert sum([Traffic(1, 60, 1), Traffic(2, 90, 0)], Traffic()) == Traffic(3, 150, 1)
