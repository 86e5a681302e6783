"""VIPs and the guard's lists on plain facts. What a network shows: test_look."""

from __future__ import annotations

from dataclasses import replace

from tests.rig.boxes import B1, B2, OWN, ROUTER, VIP, box, only
from xdplb.doctor.facts import Link, Way
from xdplb.doctor.vips import judge
from xdplb.traps import VipRoute


def test_nothing_is_said_of_a_healthy_box() -> None:
    assert list(judge(box())) == []
    assert list(judge(box(vip_ways={VIP: Way(error=101)}))) == []


def test_a_vip_without_an_address_is_taken_off_the_routes() -> None:
    assert only(judge(box(vip_ways={VIP: Way(local=True)}))).fixes == ("ip route del local 192.0.2.10/32",)
    held = box(vip_ways={VIP: Way(local=True)}, addresses={VIP: (2, 24)})
    assert only(judge(held)).fixes == ("ip addr del 192.0.2.10/24 dev eth0",)


def test_a_router_that_has_no_gateway_to_the_vip_makes_no_loop() -> None:
    routes = {2: Link("eth0", forwarding=True)}
    assert only(judge(box(links=routes))).check == "forwarding-loop"
    assert list(judge(box(links=routes, vip_ways={VIP: Way(error=22)}))) == []
    assert list(judge(box(links={2: Link("eth0", forwarding6=True)}))) == []


def test_a_trap_is_told_with_its_command_apart() -> None:
    tunnel = 'check = { through = "tunnel" }'
    finding = only(judge(box(service=tunnel, probe_routes=(VipRoute(VIP, refused="no route"),))))
    assert finding.check == "probe-way"
    assert finding.seen == "probes to 192.0.2.10 through the tunnel cannot leave: no route"
    assert finding.fixes == ("ip route add 192.0.2.10/32 via GATEWAY",)


def test_checks_that_know_another_way_are_only_blind() -> None:
    auto = 'check = { through = "auto" }'
    assert only(judge(box(service=auto, probe_routes=(VipRoute(VIP, refused="no route"),)))).check == "probe-blind"
    own = VipRoute(VIP, local=True)  # told apart
    assert list(judge(box(service=auto, probe_routes=(own,)))) == []


def test_what_a_block_covers_is_told_by_prefix() -> None:
    blocked = {B1: "10.0.0.0/8", B2: "10.0.0.0/8", ROUTER: "10.0.0.0/8", OWN: "10.0.0.0/8"}
    finding = only(judge(box(blocked=blocked)))
    assert "covers 10.0.11.2, 10.0.12.2, 10.0.2.1 and 1 more" in finding.seen
    wide = replace(box(blocked=blocked), wide_blocks=("10.0.0.0/8",))
    assert only(judge(wide)).check == "block-everything"
