"""What is probed, and that the same question is asked once."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from tests.rig.packets import BACKENDS4, VIP4, VIP6, service
from xdplb.health.kinds import Exec, Kind, Through
from xdplb.health.subjects import Wanted, Way, wants
from xdplb.model import Check, Forward, Service, Vip

TUNNEL = Check(through=Through.TUNNEL)


def wanted(found: Service) -> Wanted:
    return wants([(found, found.backends[0])])[found.name, found.backends[0].name]


def test_through_the_tunnel_every_vip_is_asked() -> None:
    ((four, six),) = wanted(service(checks=(TUNNEL,))).groups
    assert (four.vip, six.vip) == (Vip(ip_address(VIP4), 80), Vip(ip_address(VIP6), 80))
    assert four.way == Way(Forward.IPIP, 0)


def test_a_check_may_name_one_vip_and_another_port() -> None:
    one = replace(TUNNEL, vip=Vip(ip_address(VIP4), 80), port=8080)
    assert [subject.vip for subject in wanted(service(checks=(one,))).groups[0]] == [Vip(ip_address(VIP4), 8080)]


def test_services_that_ask_the_same_share_it() -> None:
    one, other = service("a", checks=(Check(80),)), service("b", checks=(Check(80),))
    assert wanted(one).groups == wanted(other).groups
    assert wanted(one).groups != wanted(service("c", checks=(Check(81),))).groups
    gue = service("d", checks=(TUNNEL,), forward=Forward.GUE)
    assert wanted(gue).groups != wanted(service("e", checks=(TUNNEL,))).groups


def test_a_program_is_told_for_whom_it_runs_and_is_not_shared() -> None:
    run = Check(kind=Kind.EXEC, ask=Exec(("/bin/true",)))
    assert wanted(service("a", checks=(run,))).groups != wanted(service("b", checks=(run,))).groups


def test_a_fingerprint_is_of_everything_that_is_asked() -> None:
    ((subject,),) = wanted(service(checks=(Check(80),))).groups
    assert subject.fingerprint() == replace(subject).fingerprint()
    assert subject.fingerprint() != replace(subject, address=BACKENDS4[1].address).fingerprint()
    assert subject.fingerprint() != replace(subject, check=Check(80, rise=5)).fingerprint()


def test_without_checks_nothing_is_asked() -> None:
    assert wants([(service(checks=()), BACKENDS4[0])]) == {}
