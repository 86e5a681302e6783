"""The nouns print as people write them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from xdplb.model import Protocol, Role, Vip


@pytest.mark.parametrize(
    ("vip", "text"),
    [
        (Vip(ip_address("192.0.2.10"), 80), "192.0.2.10:80/tcp"),
        (Vip(ip_address("2001:db8::10"), 53, Protocol.UDP), "[2001:db8::10]:53/udp"),
        (Vip(ip_address("192.0.2.10"), 8000, last_port=8999), "192.0.2.10:8000-8999/tcp"),
        (Vip(ip_address("192.0.2.10"), 1, last_port=65535), "192.0.2.10:*/tcp"),
        (Vip(ip_address("192.0.2.0"), 443, prefix=24), "192.0.2.0/24:443/tcp"),
        (Vip(ip_address("2001:db8::"), 0, Protocol.ANY, prefix=64), "[2001:db8::/64]:*/any"),
    ],
)
def test_vip_prints_as_address_port_protocol(vip: Vip, text: str) -> None:
    assert str(vip) == text


def test_protocol_numbers_are_ianas() -> None:
    assert {p.value: p.number for p in Protocol} == {"tcp": 6, "udp": 17, "sctp": 132, "any": 0}


def test_a_role_includes_those_before_it() -> None:
    order = [Role.READ, Role.OPERATE, Role.ADMIN]
    assert [[one.includes(other) for other in order] for one in order] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
