"""Run-time changes are written into a file whose comments and layout stay."""

from __future__ import annotations

from difflib import unified_diff
from ipaddress import ip_address
from random import Random

import pytest

from tools.plan_check import World
from xdplb.config import parse_config
from xdplb.desired import Overrides
from xdplb.editing import write_back
from xdplb.model import Backend
from xdplb.operators import forget_said
from xdplb.prefixes import Prefix, parse_prefix

TEXT = """# ours
[balancer]
interface = "eth0"  # the uplink

[[service]]
name = "web"
vips = ["10.9.9.9:80"]
backends = [
  # the first rack
  { name = "b1", address = "10.0.11.2" },  # one
  { name = "b2", address = "10.0.12.2", weight = 50 },  # two
  { address = "10.0.13.2" },
]

[[service]]
name = "dns"
vips = ["10.9.9.9:53"]
protocol = "udp"

[[service.backends]]
# the old one
name = "b1"  # its name
address = "10.0.11.2"

[[service.backends]]
name = "b2"
address = "10.0.12.2"

# whom nobody wants
[guard]
block = ["203.0.113.0/24", "198.51.100.0/24"]  # since May
allow_file = "allowed"
"""
FILED: dict[str, set[Prefix]] = {"block": set(), "allow": {parse_prefix("192.0.2.0/24")}}
NEW = Backend("b9", ip_address("10.0.19.2"), 7)


def changed(overrides: Overrides) -> list[str]:
    """The lines that go and come."""
    new = write_back(TEXT, overrides, FILED).text
    parse_config(new)
    return [
        line
        for line in unified_diff(TEXT.splitlines(), new.splitlines(), n=0, lineterm="")
        if line[:2] not in ("--", "++", "@@")
    ]


def test_weights_change_where_they_stand_or_are_added() -> None:
    overrides = Overrides(weights={("web", "b1"): 7, ("web", "b2"): 8, ("dns", "b1"): 9, ("dns", "b2"): 10})
    assert changed(overrides) == [
        '-  { name = "b1", address = "10.0.11.2" },  # one',
        '-  { name = "b2", address = "10.0.12.2", weight = 50 },  # two',
        '+  { name = "b1", address = "10.0.11.2", weight = 7 },  # one',
        '+  { name = "b2", address = "10.0.12.2", weight = 8 },  # two',
        "+weight = 9",
        "+weight = 10",
    ]


def test_who_was_added_stands_at_the_end() -> None:
    assert changed(Overrides(added={"web": [NEW], "dns": [Backend("10.0.14.2", ip_address("10.0.14.2"))]})) == [
        '+  { name = "b9", address = "10.0.19.2", weight = 7 },',
        "+[[service.backends]]",
        '+address = "10.0.14.2"',
        "+",
    ]


def test_who_was_removed_goes_with_its_comment_and_nobody_elses() -> None:
    assert changed(Overrides(removed={("web", "b2"), ("web", "10.0.13.2"), ("dns", "b2")})) == [
        '-  { name = "b2", address = "10.0.12.2", weight = 50 },  # two',
        '-  { address = "10.0.13.2" },',
        "-[[service.backends]]",
        '-name = "b2"',
        '-address = "10.0.12.2"',
        "-",
    ]
    all_gone = write_back(TEXT, Overrides(removed={("dns", "b1"), ("dns", "b2")}), FILED).text
    assert "# whom nobody wants\n[guard]" in all_gone
    assert parse_config(all_gone).services[1].backends == ()


def test_prefixes_change_their_list_unless_a_file_has_them() -> None:
    prefixes = {"203.0.113.0/24": None, "198.51.100.0/24": "allow", "2001:db8::/32": "block", "192.0.2.0/24": "block"}
    edited = write_back(TEXT, Overrides(prefixes=prefixes), FILED)
    guard = parse_config(edited.text).guard
    assert (guard.block, guard.allow) == (("2001:db8::/32",), ("198.51.100.0/24",))
    assert edited.left == ["192.0.2.0/24 blocked: it stands in guard.allow_file"]
    assert "# since May" in edited.text
    bare = TEXT.partition("# whom")[0]
    assert parse_config(write_back(bare, Overrides(prefixes={"10.0.0.0/8": "block"}), FILED).text).guard.block


def test_who_leaves_and_who_is_in_no_service_of_the_file_stays_a_run_time_change() -> None:
    overrides = Overrides(
        draining={("web", "b1"), ("web", "b2")}, removing={("web", "b2"): 1e9}, weights={("x", "y"): 1}
    )
    edited = write_back(TEXT, overrides, FILED)
    assert (edited.text, edited.written) == (TEXT, [])
    assert edited.left == [
        "backend x/y has weight 1: the file has no service 'x'",
        "backend web/b1 is draining",
        "backend web/b2 is being removed",
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_file_with_the_changes_in_it_means_what_it_meant_with_them_beside_it(seed: int) -> None:
    world = World(Random(seed), parse_config(TEXT))
    for _ in range(12):
        world.overrides = world.overrides.copy()
        world.operate()
    edited = write_back(TEXT, world.overrides, FILED)
    after = parse_config(edited.text)
    rest = forget_said(after, world.overrides)
    assert [rest.apply(s) for s in after.services] == [world.overrides.apply(s) for s in world.config.services]
    assert (rest.added, rest.removed, rest.weights) == ({}, set(), {})
    for comment in ("# ours", "# the uplink", "# the first rack", "# whom nobody wants", "# since May"):
        assert comment in edited.text
