"""What a running daemon knows goes into a plan; with a daemon: tests/test_running.py."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, ip_address

from tests.rig.packets import config, hop
from xdplb.model import Balancer, Mode
from xdplb.planning import _given_sources, _warn


def test_given_sources_are_those_of_the_ways_then() -> None:
    after = replace(config(), balancer=Balancer(("eth0",), source4=IPv4Network("10.0.2.64/26")))
    one, two = ip_address("10.0.11.2"), ip_address("fd00:11::2")
    found = dict(_given_sources({one: hop(4), two: hop(6)}, after))
    assert found == {one: replace(hop(4), source=ip_address("10.0.2.64")), two: hop(6)}
    assert dict(_given_sources({one: "no route"}, after)) == {one: "no route"}


def test_what_needs_a_restart_or_is_found_out_late_is_a_warning() -> None:
    before = config()
    after = replace(before, balancer=Balancer(("eth0", "eth1"), "other", Mode.GENERIC))
    assert [text.partition(":")[0] for text in _warn(before, after)] == [
        "balancer.name needs a restart",
        "balancer.mode needs a restart",
        "other interfaces",
    ]
    assert list(_warn(before, before)) == []
