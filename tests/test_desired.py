"""What should be true, from the file, the operators, the checks and the network."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rig.packets import BACKENDS4, BACKENDS6, VIP4, config, dns, hop, service
from xdplb.desired import (
    DesiredBackend,
    DesiredService,
    Health,
    Hop,
    Key,
    Memo,
    Overrides,
    desire,
    find_changed,
)
from xdplb.model import (
    Action,
    Address,
    Backend,
    Balancer,
    Check,
    Config,
    Forward,
    Limits,
    Rate,
    Service,
    State,
    Vip,
)

ONE, TWO, THREE = BACKENDS4
CONFIG = config(service(checks=(Check(80),)), service("api", backends=[ONE], checks=(Check(80),)))
HOPS: dict[Address, Hop] = {b.address: hop(4) for b in BACKENDS4}
UP = {("web", b.name): Health(True, "fine") for b in BACKENDS4} | {("api", ONE.name): Health(True, "fine")}


def states(overrides: Overrides, health: dict[tuple[str, str], Health], hops: dict[Address, Hop]) -> dict[str, str]:
    web = desire(CONFIG, overrides, health, hops)[0]
    return {b.backend.name: f"{b.state}" for b in web.backends}


def test_each_state_has_its_cause() -> None:
    health = UP | {("web", ONE.name): Health(False, "tcp refused")}
    del health["web", TWO.name]
    hops: dict[Address, Hop | str] = {**HOPS, THREE.address: "no route"}

    web = desire(CONFIG, Overrides(), health, hops)[0]

    assert [(b.state, b.reason) for b in web.backends] == [
        (State.DOWN, "tcp refused"),
        (State.CHECKING, "not probed yet"),
        (State.UNREACHABLE, "no route"),
    ]
    assert web.backends[2].row is None


def test_draining_and_weight_0_keep_the_row_and_get_no_new_flows() -> None:
    overrides = Overrides(draining={("web", ONE.name)})
    assert states(overrides, UP, dict(HOPS))[ONE.name] == "draining"
    idle = config(service(backends=[Backend("z", ONE.address, weight=0)], checks=()))
    (web,) = desire(idle, Overrides(), {}, HOPS)
    assert web.backends[0].state is State.IDLE
    assert web.backends[0].row is not None


def test_a_backend_that_is_down_stays_down_while_draining() -> None:
    overrides = Overrides(draining={("web", ONE.name)})
    assert states(overrides, UP | {("web", ONE.name): Health(False, "")}, dict(HOPS))[ONE.name] == "down"


def test_identity_goes_with_service_name_and_address_not_with_the_place_in_the_file() -> None:
    one, two = (desire(c, Overrides(), UP, HOPS)[0] for c in (CONFIG, config(service(backends=[TWO, ONE]))))
    assert {b.identity for b in two.backends} <= {b.identity for b in one.backends}


def one(service: Service, hop: Hop, **balancer: Any) -> DesiredBackend:
    """The only backend of a service, to which this is the way."""
    health = {(service.name, service.backends[0].name): Health(True, "ok")}
    config = Config(Balancer(("eth0",), **balancer), (service,))
    (wanted,) = desire(config, Overrides(), health, {service.backends[0].address: hop})
    return wanted.backends[0]


def test_every_way_leaves_less_for_the_packet_and_has_its_own_row() -> None:
    for forward, mtus in (("ipip", (1480, 1460)), ("gue", (1468, 1448)), ("l2", (1500, 1500))):
        for backend, mtu in zip((BACKENDS4[0], BACKENDS6[0]), mtus, strict=True):
            found = one(service(backends=[backend], forward=Forward(forward)), hop(backend.address.version))
            assert found.row is not None
            assert (found.row.mtu, found.row.way.overhead) == (mtu, 1500 - mtu)


def test_a_link_too_small_for_the_headers_is_said() -> None:
    found = one(service(backends=BACKENDS4[:1]), replace(hop(4), mtu=1290))
    assert (found.state, found.row) == (State.UNREACHABLE, None)
    assert found.reason == "MTU 1290 on the way is too small: 20 bytes of headers leave less than 1280"
    only4 = service(backends=BACKENDS4[:1], vips=(Vip(ip_address(VIP4), 80),))
    assert one(only4, replace(hop(4), mtu=1290)).state is State.UP
    assert one(only4, hop(4), mtu=590).reason.startswith("MTU 590 on the way is too small")


def test_l2_to_a_backend_behind_a_router_is_said() -> None:
    found = one(service(backends=BACKENDS4[:1], forward=Forward.L2), replace(hop(4), direct=False))
    assert found.reason == 'behind a router: forward = "l2" needs it on the same link'


def test_a_local_service_has_this_host_as_its_backend() -> None:
    here = Service("ssh", (Vip(ip_address(VIP4), 22),), (), forward=Forward.LOCAL)
    (wanted,) = desire(Config(Balancer(("eth0",)), (here,)), Overrides(), {}, {})
    assert [(b.backend.name, b.state) for b in wanted.backends] == [("local", State.UP)]


def test_limits_are_kept_as_what_one_packet_costs() -> None:
    limits = Limits(Rate(1000, 50), prefix4=24, prefix6=56, action=Action.COUNT)
    (wanted,) = desire(config(service(limits=limits)), Overrides(), {}, {})
    assert wanted.limit is not None
    assert (wanted.limit.packet, wanted.limit.connection) == ((15625, 50), (0, 0))
    assert (wanted.limit.client4, wanted.limit.count_only) == (0x00FFFFFF, True)
    assert wanted.limit.client6 == (0x00FFFFFFFFFFFFFF, 0)


def test_what_is_unchanged_is_the_same_object_with_a_memo() -> None:
    memo = Memo()
    conf = config(service(), dns())
    hops = {b.address: hop(4) for b in BACKENDS4}
    health = {("web", b.name): Health(True, "ok") for b in BACKENDS4}
    first = desire(conf, Overrides(), health, hops, memo)
    again = desire(conf, Overrides(), health, hops, memo)
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True]

    changed = desire(conf, Overrides(), health | {("web", BACKENDS4[0].name): Health(False, "x")}, hops, memo)

    assert [a is b for a, b in zip(first, changed, strict=True)] == [False, True]
    assert [a is b for a, b in zip(first[0].backends, changed[0].backends, strict=True)] == [False, True, True]
    assert changed == desire(conf, Overrides(), health | {("web", BACKENDS4[0].name): Health(False, "x")}, hops)


ALL_UP = UP | {("web", b.name): Health(True, "fine") for b in BACKENDS4}
NOON = datetime(2024, 5, 17, 12).timestamp()


@pytest.mark.parametrize(
    ("deadlines", "removing", "reason"),
    [
        ({}, {}, "drained by an operator; fine"),
        ({("web", ONE.name): NOON + 61}, {}, "drained by an operator until 12:01:01; fine"),
        ({("web", ONE.name): NOON + 86400}, {}, "drained by an operator until 2024-05-18 12:00:00; fine"),
        ({}, {("web", ONE.name): NOON + 5}, "removed when its flows are gone, at the latest 12:00:05; fine"),
    ],
)
def test_a_drain_says_what_becomes_of_it(deadlines: dict[Key, float], removing: dict[Key, float], reason: str) -> None:
    overrides = Overrides(draining={("web", ONE.name)}, deadlines=deadlines, removing=removing)
    first = desire(CONFIG, overrides, ALL_UP, HOPS, now=NOON)[0].backends[0]
    assert (first.state, first.reason) == (State.DRAINING, reason)
    assert first.row is not None
    assert first.row.up


def test_at_its_deadline_a_draining_backend_lets_its_flows_go_and_the_memo_sees_it() -> None:
    overrides = Overrides(draining={("web", ONE.name)}, deadlines={("web", ONE.name): NOON})
    memo = Memo()
    before = desire(CONFIG, overrides, ALL_UP, HOPS, memo, NOON - 1)[0].backends

    after = desire(CONFIG, overrides, ALL_UP, HOPS, memo, NOON)[0].backends

    assert (after[0].state, after[0].reason) == (State.DRAINING, "drained by an operator; its deadline has passed")
    assert [b.row.up for b in (before[0], *after) if b.row] == [True, False, True, True]
    assert after[1] is before[1]
    overrides = Overrides(draining={("web", ONE.name)}, removing={("web", ONE.name): NOON})
    assert (
        desire(CONFIG, overrides, ALL_UP, HOPS, now=NOON)[0].backends[0].reason.startswith("being removed; its deadl")
    )


def test_a_backend_that_is_down_says_so_before_it_says_that_it_goes() -> None:
    overrides = Overrides(draining={("web", ONE.name)}, removing={("web", ONE.name): NOON + 5})
    down = ALL_UP | {("web", ONE.name): Health(False, "refused")}
    first = desire(CONFIG, overrides, down, HOPS, now=NOON)[0].backends[0]
    assert first.reason == "refused; removed when its flows are gone, at the latest 12:00:05"


def test_a_weight_of_an_operator_counts_and_0_leaves_a_backend_idle_with_its_flows() -> None:
    overrides = Overrides(weights={("web", ONE.name): 0, ("web", TWO.name): 7})
    web, api = desire(CONFIG, overrides, ALL_UP, HOPS)
    assert [b.backend.weight for b in web.backends] == [0, 7, 100]
    assert web.backends[0].state is State.IDLE
    assert web.backends[0].row is not None
    assert web.backends[0].row.up
    assert api.backends[0].backend.weight == 100
    assert overrides.describe() == [f"backend web/{ONE.name} has weight 0", f"backend web/{TWO.name} has weight 7"]


def test_a_share_is_that_of_its_backend_alone() -> None:
    memo = Memo()
    first = desire(CONFIG, Overrides(), ALL_UP, HOPS, memo)[0]

    second = desire(CONFIG, Overrides(), ALL_UP, HOPS, memo, shares={("web", TWO.name): 0.25})[0]

    assert [b.share for b in second.backends] == [1, 0.25, 1]
    assert [a is b for a, b in zip(first.backends, second.backends, strict=True)] == [True, False, True]


def agent(health: Health) -> DesiredBackend:
    """The first backend when this is known of it."""
    return desire(CONFIG, Overrides(), ALL_UP | {("web", ONE.name): health}, HOPS)[0].backends[0]


def test_what_an_agent_says_of_its_weight_is_its_share() -> None:
    half = agent(Health(True, "fine", percent=50))
    assert (half.share, half.backend.weight, half.state) == (0.5, 100, State.UP)
    assert half.reason == "its agent says 50 % of its weight; fine"
    more = agent(Health(True, "fine", percent=150))  # it has no more to give than its weight
    assert (more.share, more.reason) == (1, "fine")
    none = agent(Health(True, "fine", percent=0))
    assert (none.state, none.serves, none.reason) == (State.IDLE, False, "its agent says 0 % of its weight; fine")
    assert none.row
    assert none.row.up
    slow = desire(CONFIG, Overrides(), ALL_UP | {("web", ONE.name): Health(True, "", percent=50)}, HOPS, shares=SLOW)
    assert slow[0].backends[0].share == 0.125


SLOW = {("web", ONE.name): 0.25}


def test_a_backend_whose_agent_says_drain_keeps_its_flows_and_gets_no_new_ones() -> None:
    drains = agent(Health(True, "fine", drain=True))
    assert (drains.state, drains.serves, drains.reason) == (State.DRAINING, False, "its agent says drain; fine")
    assert drains.row
    assert drains.row.up
    assert agent(Health(False, "refused", drain=True)).reason == "refused"


def test_settings_of_transitions_come_along() -> None:
    given = service(learn_window_s=7.0, idle_timeout_s=11.0, second_chance=True)
    (wanted,) = desire(config(given), Overrides(), {}, {})
    assert (wanted.learn_window_s, wanted.idle_timeout_s, wanted.second_chance) == (7, 11, True)


def test_a_second_chance_takes_room_for_one_more_header_of_the_widest_backend() -> None:
    narrow = one(service(backends=BACKENDS4[:1], second_chance=True), hop(4))
    assert narrow.row is not None
    assert narrow.row.mtu == 1500 - 20 - 20
    too_small = one(service(backends=BACKENDS4[:1], second_chance=True), replace(hop(4), mtu=1319))
    assert too_small.reason == "MTU 1319 on the way is too small: 40 bytes of headers leave less than 1280"


def test_an_ipv6_backend_makes_all_others_packets_shorter_also_with_a_memo() -> None:
    hops = HOPS | {BACKENDS6[0].address: hop(6)}
    memo = Memo()
    plain = config(service(second_chance=True, checks=()))
    desire(plain, Overrides(), {}, hops, memo)

    mixed = desire(plain, Overrides(added={"web": [BACKENDS6[0]]}), {}, hops, memo)[0]

    assert [b.row.mtu for b in mixed.backends if b.row] == [1440, 1440, 1440, 1420]


POOL = [Backend(f"b{n}", ip_address(0x0A000100 + n % 5)) for n in range(7)]  # some share an address
MANY = config(
    service("web", POOL[:5], slow_start_s=10.0),
    service("api", POOL[3:], checks=()),
    service("wide", POOL[:2], second_chance=True),
    Service("ssh", (Vip(ip_address(VIP4), 22),), (), forward=Forward.LOCAL),
)
KEYS = [(s.name, b.name) for s in MANY.services for b in s.backends]


class History:
    """Inputs of a desired state to which anything may happen."""

    def __init__(self, seed: int) -> None:
        self.rng, self.config, self.overrides, self.now = Random(seed), MANY, Overrides(), NOON
        self.health: dict[Key, Health] = {}
        self.hops: dict[Address, Hop | str] = {}
        self.shares: dict[Key, float] = {}

    def go_on(self) -> None:
        rng, key = self.rng, self.rng.choice(KEYS)
        what = rng.randrange(12)
        if what < 4:
            cause, percent = rng.choice(["fine", "refused", "late"]), rng.choice([None, 50])
            self.health[key] = Health(rng.choice([True, False, None]), cause, percent=percent)
        elif what == 4:
            self.health.pop(key, None)
        elif what == 5:
            ways: list[Hop | str] = [hop(4), replace(hop(4), mtu=1300), "no route"]
            self.hops = {b.address: rng.choice(ways) for b in POOL}
        elif what == 6:
            self.shares = {key: rng.choice([0.25, 0.5])} if rng.random() < 0.7 else {}
        elif what == 7:
            self.now += rng.choice([1, 40, 86400])
        elif what == 8:
            self.config = replace(MANY, services=rng.choice([MANY.services, MANY.services[::-1], MANY.services[1:]]))
        else:
            self.overrides = self.overrides.copy()
            self.operate(key)

    def operate(self, key: Key) -> None:
        to, rng = self.overrides, self.rng
        at = self.now + rng.choice([0, 30, 90])
        {
            0: lambda: to.draining.add(key),
            1: lambda: to.draining.discard(key),
            2: lambda: to.deadlines.update({key: at}),
            3: lambda: to.removing.update({key: at}),
            4: lambda: to.weights.update({key: rng.choice([0, 7])}),
            5: lambda: to.removed.add(key),
            6: lambda: to.added.update(web=[*POOL[5:], BACKENDS6[0]]),
            7: lambda: to.added.clear(),
        }[rng.randrange(8)]()

    def desire(self, memo: Memo | None) -> tuple[DesiredService, ...]:
        return desire(self.config, self.overrides, self.health, self.hops, memo, self.now, self.shares)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 25))
def test_with_a_memo_comes_out_what_comes_out_without_whatever_happened(seed: int, steps: int) -> None:
    history, memo = History(seed), Memo()
    for _ in range(steps):
        for _ in range(history.rng.randrange(4)):
            history.go_on()
        before = history.desire(memo)
        assert before == history.desire(None)
        assert all(a is b for a, b in zip(before, history.desire(memo), strict=True))


def test_a_memo_tells_of_whom_checks_found_something_else() -> None:
    memo, health = Memo(), dict(UP)
    desire(CONFIG, Overrides(), health, HOPS, memo)
    desire(CONFIG, Overrides(), health, HOPS, memo)
    assert set(memo.found) == set()

    health["web", TWO.name] = Health(False, "refused")

    desire(CONFIG, Overrides(), health, HOPS, memo)
    assert set(memo.found) == {("web", TWO.name)}


def test_whatever_changed_of_backends_is_found_with_what_it_was() -> None:
    overrides, down = Overrides(removed={("web", ONE.name)}), UP | {("web", TWO.name): Health(False, "refused")}
    before, after = desire(CONFIG, Overrides(), ALL_UP, HOPS), desire(CONFIG, overrides, down, HOPS)

    found = {(s.name, (a or b).backend.name): (a, b) for s, a, b in find_changed(before, after) if a or b}  # type: ignore[union-attr]

    assert found.keys() == {("web", ONE.name), ("web", TWO.name)}
    assert found["web", ONE.name] == (before[0].backends[0], None)
    assert found["web", TWO.name] == (before[0].backends[1], after[0].backends[0])
    assert (None, before[0].backends[0]) in [(a, b) for _, a, b in find_changed(after, before)]
    assert [(s.name, a) for s, a, _ in find_changed((), before)] == [("web", None)] * 3 + [("api", None)]
    assert [(s.name, b) for s, _, b in find_changed(before, before[:1])] == [("api", None)]
    assert list(find_changed(before, desire(CONFIG, Overrides(), ALL_UP, HOPS))) == []
