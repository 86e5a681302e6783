"""Whom evidence is about, and how often."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from tests.rig.packets import BACKENDS4, BACKENDS6, LB4, LB6, VIP4, VIP6, config, hop, service
from xdplb.desired import DesiredService, Health, Overrides, desire
from xdplb.health.suspects import Suspects
from xdplb.model import Config, Forward, Protocol, Vip

FOUR, SIX = (backends[0].address for backends in (BACKENDS4, BACKENDS6))
TCP, UDP = 6, 17


def desired(of: Config) -> tuple[DesiredService, ...]:
    backends = {b.address for s in of.services for b in s.backends}
    health = {(s.name, b.name): Health(True, "") for s in of.services for b in s.backends}
    return desire(of, Overrides(), health, {address: hop(address.version) for address in backends})


def suspects(*services: Any, **balancer: Any) -> Suspects:
    of = config(*services)
    of = replace(of, balancer=replace(of.balancer, **balancer))
    made = Suspects(of)
    made.follow(desired(of))
    return made


def test_services_without_passive_are_nobodys_business() -> None:
    made = suspects(service())
    assert not made
    assert made.of(FOUR) == []


def test_an_address_is_a_backend_of_each_service_that_has_it() -> None:
    made = suspects(
        service("a", passive=True),
        service("b", passive=True, vips=(Vip(ip_address(VIP4), 81),)),
        service("c", vips=(Vip(ip_address(VIP4), 82),)),
    )
    assert made
    assert made.of(FOUR) == [("a", "four11"), ("b", "four11")]
    assert made.of(ip_address("203.0.113.1")) == []


def test_a_report_is_about_the_services_of_its_vip() -> None:
    made = suspects(
        service("a", passive=True),
        service("b", passive=True, vips=(Vip(ip_address(VIP4), 81),)),
        service("range", passive=True, vips=(Vip(ip_address(VIP4), 8000, Protocol.TCP, 8999),)),
        service("net", passive=True, vips=(Vip(ip_address("198.51.100.0"), 80, prefix=24),), checks=()),
        service("all", passive=True, vips=(Vip(ip_address("192.0.2.99"), 0, Protocol.ANY),), checks=()),
    )

    def names(vip: str | None, port: int, protocol: int = TCP) -> list[str]:
        return [name for name, _ in made.serving(FOUR, ip_address(vip) if vip else None, port, protocol)]

    assert names(VIP4, 80) == names(VIP6, 80) == ["a"]
    assert names(VIP4, 81) == ["b"]
    assert names(VIP6, 81) == names(VIP4, 80, UDP) == names(VIP4, 7999) == []
    assert names(VIP4, 8000) == names(VIP4, 8999) == ["range"]
    assert names("198.51.100.7", 80) == ["net"]
    assert names("192.0.2.99", 4711) == ["all"]
    assert names(None, 80) == ["a", "net", "all"]
    assert made.serving(ip_address("203.0.113.1"), None, 80, TCP) == []


def test_each_backend_is_suspected_once_a_second() -> None:
    made = suspects(service(passive=True))
    one, other = ("web", "four11"), ("web", "four12")
    assert made.due([one, other], 100.0) == [one, other]
    assert made.due([one, other], 100.9) == []
    assert made.due([other], 101.0) == [other]
    assert made.due([one, other], 101.5) == [one]
    assert [made.any_due(FOUR, at) for at in (102.4, 102.6)] == [False, True]
    assert not made.any_due(ip_address("203.0.113.1"), 200.0)


def test_backends_that_come_and_go_are_followed() -> None:
    of = config(service(passive=True))
    made = Suspects(of)
    assert made.of(FOUR) == []
    made.follow(desired(of))
    assert made.of(FOUR) == [("web", "four11")]
    made.follow(desired(config(service(passive=True, backends=BACKENDS4[1:]))))
    assert made.of(FOUR) == []
    assert made.of(BACKENDS4[1].address) == [("web", "four12")]


def test_outer_sources_are_those_of_the_routes_and_of_the_file() -> None:
    both = service(passive=True, backends=[BACKENDS4[0], BACKENDS6[0]])
    assert suspects(both).sources == {ip_network(LB4), ip_network(LB6)}
    assert ip_network("10.0.2.64/26") in suspects(both, source4=ip_network("10.0.2.64/26")).sources


def test_gue_ports_are_those_of_passive_services() -> None:
    gue = service(passive=True, forward=Forward.GUE, gue_port=7000)
    assert suspects(gue, service("other", vips=(Vip(ip_address(VIP4), 81),))).gue_ports == {7000}
