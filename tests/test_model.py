"""The nouns print as people write them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from xdplb.model import Protocol, Vip


@pytest.mark.parametrize(
    ("vip", "text"),
    [
        (Vip(ip_address("192.0.2.10"), 80), "192.0.2.10:80/tcp"),
        (Vip(ip_address("2001:db8::10"), 53, Protocol.UDP), "[2001:db8::10]:53/udp"),
    ],
)
def test_vip_prints_as_address_port_protocol(vip: Vip, text: str) -> None:
    assert str(vip) == text


def test_protocol_numbers_are_ianas() -> None:
    assert {p.value: p.number for p in Protocol} == {"tcp": 6, "udp": 17}
