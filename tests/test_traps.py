"""What is in probes' way, in words that mend it. That the kernel does drop then: tests/lab/test_tunnel.py."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from xdplb.traps import Port, VipRoute, find_traps

VIP4, VIP6 = ip_address("192.0.2.10"), ip_address("2001:db8::10")
ETH0, ETH1 = Port(2, "eth0"), Port(3, "eth1")
STRICT0, STRICT1 = Port(2, "eth0", rp_filter=1), Port(3, "eth1.100", rp_filter=1)


def route(vip: Any = VIP4, **fields: Any) -> VipRoute:
    source = ip_address("10.0.2.2") if vip.version == 4 else ip_address("fd00:2::2")
    return VipRoute(vip, **{"leaves": (ETH0,), "arrives": (ETH0,), "source": source, **fields})


@pytest.mark.parametrize(
    "fine",
    [
        route(),
        route(VIP6),
        route(leaves=(STRICT0,), arrives=(STRICT0,)),  # back where it left
        route(leaves=(STRICT0, STRICT1), arrives=(STRICT0, STRICT1)),  # one of several ways
        route(arrives=(Port(3, "eth1", rp_filter=2),)),  # loose
        route(VIP6, arrives=(STRICT1,)),  # IPv6 has no such filter
    ],
)
def test_nothing_is_said_where_nothing_is_wrong(fine: VipRoute) -> None:
    assert find_traps([fine]) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (route(local=True, holder="lo"), ("an address of this host", "`ip addr del 192.0.2.10/32 dev lo`")),
        (route(VIP6, local=True), ("an address of this host", "`ip route del local 2001:db8::10/128`")),
        (
            VipRoute(VIP4, refused="no route (network is unreachable)"),
            ("cannot leave: no route (network is unreachable)", "`ip route add 192.0.2.10/32 via GATEWAY`"),
        ),
        (VipRoute(VIP4), ("cannot leave: there is no route",)),
        (route(leaves=(Port(9, "wg0", ethernet=False),)), ("leaves by wg0", "via GATEWAY dev INTERFACE`")),
        (route(asks=True), ("eth0's own network", "`ip neigh replace 192.0.2.10 lladdr", "dev eth0`")),
        (route(source=ip_address("169.254.0.7")), ("from 169.254.0.7", "dev eth0`")),
        (route(VIP6, source=ip_address("fe80::1")), ("from fe80::1", "dev eth0`")),
        (route(source=ip_address("127.0.0.1")), ("from 127.0.0.1",)),
        (route(source=None), ("from no address",)),
        (
            route(arrives=(ETH0, STRICT1)),
            ("come to 10.0.2.2 by eth1.100", "`sysctl -w net.ipv4.conf.eth1/100.rp_filter=2`"),
        ),
    ],
)
def test_a_trap_is_told_with_its_fix(wrong: VipRoute, words: tuple[str, ...]) -> None:
    (said,) = find_traps([wrong])
    assert all(part in said for part in (*words, str(wrong.vip)))


def test_every_vip_is_looked_at() -> None:
    assert len(find_traps([VipRoute(VIP4), route(), VipRoute(VIP6)])) == 2
