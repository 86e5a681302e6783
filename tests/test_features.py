"""A configuration compiles in what it uses, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from xdplb.config import parse_config
from xdplb.dataplane.plane import Spec
from xdplb.features import spec_for

HEAD = '[balancer]\ninterface = "eth0"\n'
WEB = '[[service]]\nname = "web"\nvips = ["192.0.2.10:80"]\ncheck = { kind = "none" }\n'
B4, B6 = 'backends = [{ address = "10.0.0.1" }]\n', 'backends = [{ address = "fd00::1" }]\n'


def compiled(text: str, **facts: Any) -> Spec:
    config = parse_config(text)
    return spec_for(config, config.services, 7, None, 5, **facts)


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (HEAD + WEB + B4, "vip4 ipip4"),
        (HEAD + WEB, "vip4 ipip4"),
        (HEAD + WEB + B6, "vip4 ipip6"),
        (HEAD + WEB.replace("192.0.2.10", "[2001:db8::1]") + B4, "vip6 ipip4"),
        (HEAD + WEB + B6 + 'forward = "gue"', "vip4 gue6"),
        (HEAD + WEB + B4 + 'forward = "l2"', "vip4 l2"),
        (HEAD + WEB.splitlines(True)[0] + 'name = "x"\nvips = ["192.0.2.1:80"]\nforward = "local"', "vip4 local"),
        (HEAD + "vlan = true\n" + WEB + B4, "vip4 ipip4 vlan"),
        (HEAD + WEB + B4 + 'protocol = "sctp"', "vip4 ipip4 sctp"),
        (HEAD + WEB.replace(":80", "") + B4 + 'protocol = "any"', "vip4 ipip4 any"),
        (HEAD + WEB.replace(":80", ":*") + B4, "vip4 ipip4 ranges"),
        (HEAD + WEB.replace("2.10:", "2.0/24:") + B4, "vip4 ipip4 networks"),
        (HEAD + WEB + B4 + 'affinity = "client"', "vip4 ipip4 client"),
        (HEAD + WEB + B4 + "passive = true", "vip4 ipip4 passive"),
        (HEAD + WEB + B4 + "limits = { packets_per_s = 5 }", "vip4 ipip4 limits"),
        (HEAD.replace('"eth0"', '["eth0", "eth1"]') + WEB + B4, "vip4 ipip4 redirect"),
    ],
)
def test_what_is_used_is_compiled_in(text: str, features: str) -> None:
    assert compiled(text).features() == features.split()


def test_what_the_network_says_counts_too() -> None:
    assert compiled(HEAD + WEB + B4, mtus=[1500]).frags is False
    assert compiled(HEAD + WEB + B4, mtus=[1500, 9000]).frags is True
    assert compiled(HEAD + WEB + B4, vlans=True).vlan is True
    assert compiled(HEAD + WEB + B4, trace=True).trace is True
    assert compiled(HEAD + WEB + B4, prefixes=1 << 20).capacity.spans == 1 << 20


def test_outer_sources_spread_over_a_prefix() -> None:
    text = HEAD + 'source4 = "10.0.2.0/28"\nsource6 = "fd00:2::/112"\ndont_fragment = false\nanswers_per_s = 10\n' + WEB
    spec = compiled(text)
    assert (spec.source4_bits, spec.source6_bits, spec.outer_df) == (4, 16, False)
    assert spec.answer_cost == 1e9 / 64 / 10


def test_limits_make_room_for_clients() -> None:
    text = HEAD + WEB + "limits = { connections_per_s = 5 }\n[guard]\nmax_clients = 4096\n"
    assert compiled(text).capacity.clients == 512


def test_tables_are_not_made_anew_for_one_prefix_more() -> None:
    first = compiled(HEAD + WEB + B4, prefixes=1 << 20)
    config = parse_config(HEAD + WEB + B4)
    again = spec_for(config, config.services, 7, first, 5, prefixes=(1 << 20) + 2)
    assert again.sizes() == first.sizes()
    assert spec_for(config, config.services, 7, first, 5, prefixes=1 << 22).capacity.spans == 1 << 22
