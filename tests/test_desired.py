"""What should be true, from the file, the operators, the checks and the network."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from tests.rig.packets import BACKENDS4, BACKENDS6, VIP4, config, dns, hop, service
from xdplb.desired import (
    DesiredBackend,
    Health,
    Hop,
    Memo,
    Overrides,
    add_backend,
    desire,
    drain_backend,
    keys_of,
    overrides_to_json,
    remove_backend,
)
from xdplb.errors import ConfigError
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
CONFIG = config(service(check=Check(80)), service("api", backends=[ONE], check=Check(80)))
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
    idle = config(service(backends=[Backend("z", ONE.address, weight=0)], check=None))
    (web,) = desire(idle, Overrides(), {}, HOPS)
    assert web.backends[0].state is State.IDLE
    assert web.backends[0].row is not None


def test_a_backend_that_is_down_stays_down_while_draining() -> None:
    overrides = Overrides(draining={("web", ONE.name)})
    assert states(overrides, UP | {("web", ONE.name): Health(False, "")}, dict(HOPS))[ONE.name] == "down"


def test_identity_goes_with_service_name_and_address_not_with_the_place_in_the_file() -> None:
    one, two = (desire(c, Overrides(), UP, HOPS)[0] for c in (CONFIG, config(service(backends=[TWO, ONE]))))
    assert {b.identity for b in two.backends} <= {b.identity for b in one.backends}


def test_add_and_remove_are_remembered_as_differences() -> None:
    overrides, new = Overrides(), Backend("new", ip_address("10.0.99.2"))

    add_backend(CONFIG, overrides, "web", new)
    assert overrides.describe() == ["backend web/new added"]
    assert remove_backend(CONFIG, overrides, "new", None) == [("web", "new")]
    assert overrides == Overrides()

    assert remove_backend(CONFIG, overrides, ONE.name, None) == [("web", ONE.name), ("api", ONE.name)]
    assert overrides.describe() == [f"backend api/{ONE.name} removed", f"backend web/{ONE.name} removed"]
    add_backend(CONFIG, overrides, "web", ONE)
    assert [b for s, b in keys_of(CONFIG.services, overrides) if s.name == "web"] == list(BACKENDS4)


def test_a_removed_backend_may_come_back_with_another_address() -> None:
    overrides, moved = Overrides(), Backend(ONE.name, ip_address("10.0.99.2"))
    remove_backend(CONFIG, overrides, ONE.name, "web")

    service_ = add_backend(CONFIG, overrides, "web", moved)

    assert service_.backends == (TWO, THREE, moved)


def test_drain_reaches_every_service_or_one() -> None:
    overrides = Overrides()
    assert drain_backend(CONFIG, overrides, ONE.name, None, drain=True) == [("web", ONE.name), ("api", ONE.name)]
    drain_backend(CONFIG, overrides, ONE.name, "api", drain=False)
    assert overrides.draining == {("web", ONE.name)}
    copy = overrides.copy()
    copy.draining.clear()
    assert overrides_to_json(overrides)["draining"] == [("web", ONE.name)]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            lambda o: add_backend(CONFIG, o, "nope", TWO),
            "service: there is no service 'nope'; the services are: web, api",
        ),
        (lambda o: add_backend(CONFIG, o, "web", TWO), "name: service 'web' has a backend 'four12'; choose another"),
        (lambda o: add_backend(CONFIG, o, "web", Backend("x", TWO.address)), "address: 10.0.12.2 is backend 'four12'"),
        (lambda o: add_backend(CONFIG, o, "web", Backend("x", ip_address("192.0.2.10"))), "is a VIP; give"),
        (lambda o: remove_backend(CONFIG, o, "nope", None), "there is no backend 'nope' in any service; see"),
        (lambda o: drain_backend(CONFIG, o, TWO.name, "api", True), "there is no backend 'four12' in service 'api'"),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(change: object, error: str) -> None:
    overrides = Overrides()
    with pytest.raises(ConfigError) as caught:
        change(overrides)  # type: ignore[operator]
    assert error in str(caught.value)
    assert overrides == Overrides()


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
    with pytest.raises(ConfigError, match="'ssh' is served by this host itself"):
        add_backend(Config(Balancer(("eth0",)), (here,)), Overrides(), "ssh", BACKENDS4[0])


def test_limits_are_kept_as_what_one_packet_costs() -> None:
    limits = Limits(Rate(1000, 50), prefix4=24, prefix6=56, action=Action.COUNT)
    (wanted,) = desire(config(service(limits=limits)), Overrides(), {}, {})
    assert wanted.limit is not None
    assert (wanted.limit.packet, wanted.limit.connection) == ((15625, 50), (0, 0))
    assert (wanted.limit.client4, wanted.limit.count_only) == (0x00FFFFFF, True)
    assert wanted.limit.client6 == (0x00FFFFFFFFFFFFFF, 0)


def test_what_is_unchanged_is_the_same_object_with_a_memo() -> None:
    memo: Memo = {}
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
