"""Which VIP a packet finds, and what is said when it finds none."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.rig.explaining import world
from tests.rig.packets import VIP4, VIP6, config, service
from tests.rig.xdp import SPEC
from xdplb.dataplane.plane import Spec
from xdplb.explain.places import Places
from xdplb.model import Protocol, Vip
from xdplb.tables import Tables

WIDE = replace(SPEC, ranges=True, any=True, networks=True)
VIPS = (
    Vip(ip_address(VIP4), 80),
    Vip(ip_address(VIP4), 443),
    Vip(ip_address(VIP4), 8000, Protocol.TCP, 8010),
    Vip(ip_address("192.0.2.20"), 0, Protocol.ANY),
    Vip(ip_address("198.18.0.0"), 53, Protocol.UDP, 0, 16),
    Vip(ip_address("198.18.4.0"), 53, Protocol.UDP, 0, 22),
    Vip(ip_address(VIP6), 80),
)


@pytest.fixture(scope="module")
def places() -> Places:
    there = world(config(service(vips=VIPS)), spec=WIDE)
    return Places(WIDE, there.tables)


@pytest.mark.parametrize(
    ("address", "port", "protocol", "vip", "how"),
    [
        (VIP4, 80, 6, f"{VIP4}:80/tcp", "this very port"),
        (VIP4, 8005, 6, f"{VIP4}:8000-8010/tcp", "a range of ports"),
        ("192.0.2.20", 9, 17, "192.0.2.20 (any)", "every protocol"),
        ("198.18.3.4", 53, 17, "198.18.0.0/16:53/udp", "this very port"),
        ("198.18.4.9", 53, 17, "198.18.4.0/22:53/udp", "this very port"),
        (VIP6, 80, 6, f"[{VIP6}]:80/tcp", "this very port"),
    ],
)
def test_the_closest_vip_is_found(places: Places, address: str, port: int, protocol: int, vip: str, how: str) -> None:
    found = places.find(ip_address(address), port, protocol, True)

    assert found
    assert (found.vip, found.how) == (vip, how)


@pytest.mark.parametrize(
    ("address", "port", "protocol", "words"),
    [
        (VIP4, 81, 6, f"no VIP {VIP4}:81/tcp; this address has 80/tcp, 443/tcp, 8000-8010/tcp"),
        (VIP4, 80, 17, f"no VIP {VIP4}:80/udp; this address has 80/tcp, 443/tcp, 8000-8010/tcp"),
        ("198.18.3.4", 54, 17, "no VIP 198.18.3.4:54/udp; 198.18.0.0/16, which it is in, has 53/udp"),
        (
            "203.0.113.1",
            80,
            6,
            "203.0.113.1 is no VIP's address and in no VIP's network; "
            f"VIPs are at {VIP4}, 192.0.2.20, {VIP6}, 198.18.4.0/22, 198.18.0.0/16",
        ),
    ],
)
def test_what_came_nearest_is_told(places: Places, address: str, port: int, protocol: int, words: str) -> None:
    assert places.find(ip_address(address), port, protocol, True) is None
    assert places.nearest(ip_address(address), port, protocol) == words


def test_without_a_vip_that_is_told() -> None:
    empty = Spec(SPEC.capacity, 1, 2)

    words = "no VIP 10.0.0.1:80/tcp; there is no VIP at all"
    assert Places(empty, Tables()).nearest(ip_address("10.0.0.1"), 80, 6) == words


def test_many_ports_are_not_all_listed() -> None:
    there = world(config(service(vips=tuple(Vip(ip_address(VIP4), port) for port in range(1, 30)))))

    words = Places(SPEC, there.tables).nearest(ip_address(VIP4), 80, 6)
    assert words.endswith("7/tcp, 8/tcp and 21 more")
