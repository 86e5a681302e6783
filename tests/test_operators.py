"""What operators may change, what is refused, and that a change and its opposite leave nothing behind."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.rig.packets import BACKENDS4, VIP4, config, service
from xdplb.desired import Overrides, keys_of, overrides_to_json
from xdplb.errors import ConfigError, ConflictError
from xdplb.model import Backend, Balancer, Check, Config, Forward, Service, Vip
from xdplb.operators import (
    add_backend,
    drain_backend,
    drop_backends,
    put_backend,
    remove_backend,
    undrain_backend,
    weigh_backend,
)

ONE, TWO, THREE = BACKENDS4
CONFIG = config(service(checks=(Check(80),)), service("api", backends=[ONE], checks=(Check(80),)))


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

    add_backend(CONFIG, overrides, "web", moved)

    assert overrides.apply(CONFIG.services[0]).backends == (TWO, THREE, moved)


def test_drain_reaches_every_service_or_one() -> None:
    overrides = Overrides()
    assert drain_backend(CONFIG, overrides, ONE.name, None) == [("web", ONE.name), ("api", ONE.name)]
    undrain_backend(CONFIG, overrides, ONE.name, "api")
    assert overrides.draining == {("web", ONE.name)}
    copy = overrides.copy()
    copy.draining.clear()
    copy.deadlines["web", "x"] = 1.0
    copy.weights["web", "x"] = 1
    copy.removing["web", "x"] = 1.0
    assert (overrides.deadlines, overrides.weights, overrides.removing) == ({}, {}, {})
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
        (lambda o: weigh_backend(CONFIG, o, TWO.name, None, 65536), "weight: 65536 is out of range; give 0 to 65535"),
        (lambda o: undrain_backend(CONFIG, o, "nope", None), "there is no backend 'nope' in any service; see"),
        (lambda o: drain_backend(CONFIG, o, TWO.name, "api"), "there is no backend 'four12' in service 'api'"),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(change: object, error: str) -> None:
    overrides = Overrides()
    with pytest.raises(ConfigError) as caught:
        change(overrides)  # type: ignore[operator]
    assert error in str(caught.value)
    assert overrides == Overrides()


def test_a_local_service_takes_no_backend() -> None:
    here = Service("ssh", (Vip(ip_address(VIP4), 22),), (), forward=Forward.LOCAL)
    with pytest.raises(ConfigError, match="'ssh' is served by this host itself"):
        add_backend(Config(Balancer(("eth0",)), (here,)), Overrides(), "ssh", ONE)


def test_a_removal_with_a_time_is_a_drain_until_it_is_over() -> None:
    overrides = Overrides()
    assert remove_backend(CONFIG, overrides, ONE.name, None, at=99.0) == [("web", ONE.name), ("api", ONE.name)]
    assert overrides.draining == {("web", ONE.name), ("api", ONE.name)}
    assert overrides.describe() == [f"backend api/{ONE.name} being removed", f"backend web/{ONE.name} being removed"]
    assert ONE in overrides.apply(CONFIG.services[0]).backends

    drop_backends(CONFIG, overrides, [("web", ONE.name), ("api", ONE.name)])

    assert overrides == Overrides(removed={("web", ONE.name), ("api", ONE.name)})


def test_undrain_takes_all_of_a_drain_or_a_removal_back() -> None:
    overrides = Overrides()
    drain_backend(CONFIG, overrides, TWO.name, None, until=99.0)
    assert overrides.deadlines == {("web", TWO.name): 99.0}
    undrain_backend(CONFIG, overrides, TWO.name, None)
    assert overrides == Overrides()
    remove_backend(CONFIG, overrides, TWO.name, None, at=99.0)
    undrain_backend(CONFIG, overrides, TWO.name, None)
    assert overrides == Overrides()


def test_the_latest_drain_says_the_deadline_or_that_there_is_none() -> None:
    overrides = Overrides()
    drain_backend(CONFIG, overrides, TWO.name, None, until=99.0)
    drain_backend(CONFIG, overrides, TWO.name, None)
    assert overrides == Overrides(draining={("web", TWO.name)})


def test_adding_a_backend_that_is_being_removed_keeps_it_with_the_weight_that_was_said() -> None:
    overrides = Overrides()
    remove_backend(CONFIG, overrides, TWO.name, None, at=99.0)
    add_backend(CONFIG, overrides, "web", Backend(TWO.name, TWO.address, 7))
    assert overrides == Overrides(weights={("web", TWO.name): 7})
    remove_backend(CONFIG, overrides, TWO.name, None, at=99.0)
    with pytest.raises(ConfigError, match="remove it at once"):
        add_backend(CONFIG, overrides, "web", Backend(TWO.name, ip_address("10.0.99.2")))


def test_a_drain_does_not_hide_a_removal() -> None:
    overrides = Overrides()
    remove_backend(CONFIG, overrides, TWO.name, None, at=99.0)
    with pytest.raises(
        ConfigError, match="'four12' is being removed; it drains already; `xdplb backend undrain four12`"
    ):
        drain_backend(CONFIG, overrides, TWO.name, None)


def test_a_weight_is_a_difference_until_it_is_the_files_again_and_goes_with_its_backend() -> None:
    overrides = Overrides()
    assert weigh_backend(CONFIG, overrides, ONE.name, None, 7) == [("web", ONE.name), ("api", ONE.name)]
    assert overrides.weights == {("web", ONE.name): 7, ("api", ONE.name): 7}
    weigh_backend(CONFIG, overrides, ONE.name, "api", 100)
    assert overrides.weights == {("web", ONE.name): 7}
    remove_backend(CONFIG, overrides, ONE.name, "web")
    assert overrides == Overrides(removed={("web", ONE.name)})


def test_an_added_backend_keeps_its_weight_with_it() -> None:
    overrides, new = Overrides(), Backend("new", ip_address("10.0.99.2"))
    add_backend(CONFIG, overrides, "web", new)
    weigh_backend(CONFIG, overrides, "new", None, 0)
    assert overrides == Overrides(added={"web": [Backend("new", new.address, 0)]})


def test_what_the_file_has_not_any_more_is_forgotten_without_a_trace() -> None:
    overrides = Overrides(draining={("web", "old")}, removing={("web", "old"): 9.0}, weights={("gone", "old"): 3})
    drop_backends(CONFIG, overrides, [("web", "old"), ("gone", "old")])
    assert overrides == Overrides()


def test_what_is_put_twice_is_there_once() -> None:
    overrides, new = Overrides(), Backend("new", ip_address("10.0.99.2"), 50)
    for _ in range(2):
        put_backend(CONFIG, overrides, "web", new)
        assert overrides == Overrides(added={"web": [new]})
    put_backend(CONFIG, overrides, "web", replace(new, weight=70))
    assert overrides == Overrides(added={"web": [replace(new, weight=70)]})
    with pytest.raises(ConflictError, match="service 'web' has a backend 'new'"):
        put_backend(CONFIG, overrides, "web", replace(new, address=ip_address("10.0.99.3")))
    remove_backend(CONFIG, overrides, "new", None, 1000.0)
    put_backend(CONFIG, overrides, "web", new)
    assert overrides == Overrides(added={"web": [new]})  # it stays
