"""The kernel's answers, of this host's loopback interface."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address

from xdplb.doctor import netlink


def test_a_way_to_this_host_is_local_whatever_the_number_of_questions() -> None:
    many = [ip_address(0x7F000001 + n) for n in range(200)]
    ways = netlink.find_ways(many)
    assert list(ways) == many
    assert all(way.local and way.oif == 1 for way in ways.values())
    assert netlink.find_ways([]) == {}


def test_attributes_are_read_up_to_the_end_and_not_beyond() -> None:
    raw = netlink._attribute(3, b"ab") + netlink._attribute(0x8001, b"wxyz")
    assert list(netlink.attributes(raw)) == [(3, b"ab"), (1, b"wxyz")]
    assert list(netlink.attributes(raw[:-2])) == [(3, b"ab"), (1, b"wx")]
    assert list(netlink.attributes(bytes(8))) == [(0, b""), (0, b"")]  # a length of 0 is no end of the world


def test_this_namespace_has_no_number_of_its_own() -> None:
    with open("/proc/self/ns/net") as own:
        assert netlink.namespace_number(own.fileno()) is None


def test_neighbours_and_features_can_be_read() -> None:
    assert all(hop[0] > 0 for hop in netlink.read_neighbours())
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 3):
        assert netlink.read_xdp_features([socket.if_nametoindex("lo")]) == {1: 0}
    assert netlink.read_xdp_features([1 << 30]) == {}
