"""Limits that a packet meets, and how much of them is used."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from tests.rig.explaining import explained, outcome, world
from tests.rig.packets import CLIENT4, config, service, tcp
from tests.rig.xdp import SPEC
from xdplb.contract import CONSTANTS
from xdplb.dataplane.outcome import Changed
from xdplb.explain.world import World
from xdplb.hashing import hash_account, words
from xdplb.model import Action, Limits, Rate

LIMITED = replace(SPEC, limits=True, prefixes=True, capacity=replace(SPEC.capacity, clients=64))
LIMITS = Limits(Rate(100, 40), Rate(10, 5), Rate(1000, 50), prefix4=24)


def limited(limits: Limits = LIMITS) -> World:
    return replace(world(config(service(limits=limits)), spec=LIMITED), now=1000)


def charged(of: World, used: int) -> Changed:
    """The client's account of packets, of which so many were let through at once."""
    (limit,) = of.tables.limits.values()
    what = CONSTANTS["ACCOUNT_OF_PACKETS"]
    number = hash_account(
        words(ip_address(CLIENT4)), 4, (0, limit.client4 << 32), limit.identity, what, of.spec.hash_key
    )
    word = (number & 0xFFFFFF) << 40 | of.now + used * limit.packet[0]
    return Changed((number >> 32) * 64 >> 32, bytes(64), bytes(8) + word.to_bytes(8, "little") + bytes(48))


def texts(document: dict[str, Any]) -> list[str]:
    return [limit["text"] for limit in document["guard"]["limits"]]


def test_what_is_used_of_a_limit_is_told() -> None:
    of = limited()

    told = explained(of, tcp(flags="A"), outcome(None, clients=(charged(of, 3),)))

    assert texts(told) == ["packets of 198.51.100.0/24: 100/s and 40 at once, 3 used"]


def test_a_new_connection_meets_all_limits() -> None:
    service_time = Changed(0, bytes(64), bytes(24) + (1000 + 15625).to_bytes(8, "little") + bytes(32))

    told = explained(limited(), tcp(), outcome(None, limits=(service_time,)))

    assert texts(told) == [
        "packets of 198.51.100.0/24: 100/s and 40 at once",
        "new connections of 198.51.100.0/24: 10/s and 5 at once",
        "new connections of all clients: 1000/s and 50 at once, 1 used",
    ]


def test_a_limit_that_only_counts_says_so() -> None:
    of = limited(replace(LIMITS, action=Action.COUNT, connections=None, service_connections=None))

    assert texts(explained(of, tcp(), outcome(None))) == [
        "packets of 198.51.100.0/24: 100/s and 40 at once, only counted"
    ]


def test_who_is_on_the_allow_list_meets_none() -> None:
    of = limited()
    of = replace(of, names=replace(of.names, listed=lambda address: ("198.51.100.0/24", "allow")))

    told = explained(of, tcp(), outcome(None))

    assert texts(told) == []
    assert (told["guard"]["prefix"], told["guard"]["verdict"]) == ("198.51.100.0/24", "allow")
