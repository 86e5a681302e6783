"""What differs between two configurations is told by its keys, and secrets are not told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from tests.rig.packets import BACKENDS4, config, dns, service
from xdplb.comparison import compare_backends, compare_settings
from xdplb.model import Backend, Balancer, Config


def test_settings_that_differ_are_told_and_the_key_of_the_hash_is_not() -> None:
    before = Config(Balancer(("eth0",), hash_key="secret"), (service(),))
    after = Config(Balancer(("eth0", "eth1"), mtu=1400, hash_key="other"), (service(ring_size=2048), dns()))
    assert compare_settings(before, after) == [
        "balancer.interfaces: eth0 -> eth0, eth1",
        "balancer.hash_key: another one",
        "balancer.mtu: none -> 1400",
        "service.web.ring_size: none -> 2048",
    ]


def test_backends_that_come_go_or_are_others_are_told_one_by_one() -> None:
    one, two, three = BACKENDS4
    new = Backend("new", ip_address("10.0.99.2"))
    before, after = config(service(), dns()), config(service(backends=[replace(one, weight=7), two, new]), service("x"))
    assert compare_backends(before, after) == [
        "service dns removed",
        "service x added",
        f"backend web/{three.name} removed",
        "backend web/new added: 10.0.99.2",
        f"backend web/{one.name}.weight: 100 -> 7",
    ]
    assert compare_backends(before, before) == []
