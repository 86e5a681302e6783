"""Interfaces and programs that no namespace has: bonds, VLANs, drivers without XDP. The others: test_look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.rig.boxes import NIC, box, only
from xdplb.doctor.facts import Link
from xdplb.doctor.interfaces import judge

OURS = replace(NIC, program_id=7, xdp_mode="native", owner="main")


def test_nothing_is_said_of_a_healthy_one() -> None:
    assert list(judge(box(interfaces=(OURS,)))) == []


def test_a_daemon_without_its_program_on_an_interface() -> None:
    assert only(judge(box())).seen == "no XDP program is on eth0"
    assert list(judge(box(running=None))) == []


@pytest.mark.parametrize(
    ("nic", "keys", "check", "words"),
    [
        (replace(OURS, xdp_features=0), "", "mode-unsupported", "driver ice of eth0"),
        (replace(OURS, xdp_features=1, mtu=9000), "", "mtu-buffer", "MTU 9000"),
        (replace(OURS, xdp_mode="generic"), 'mode = "generic"', "mode-generic", "the driver could do native"),
        (replace(OURS, parent=3, xdp_features=0), "vlan = true", "vlan-interface", "eth0 is a VLAN of eth1"),
    ],
)
def test_a_driver_that_cannot(nic: object, keys: str, check: str, words: str) -> None:
    finding = only(judge(box(keys, interfaces=(nic,))))
    assert finding.check == check
    assert words in finding.seen
    assert finding.fixes


def test_generic_mode_asks_nothing_of_the_driver() -> None:
    nic = replace(OURS, xdp_features=0, xdp_mode="generic", mtu=9000)
    assert {f.check for f in judge(box('mode = "generic"', interfaces=(nic,)))} == {"mode-generic"}


def test_a_second_interface_has_to_take_redirected_frames() -> None:
    nics = (OURS, replace(OURS, name="eth1", index=3, xdp_features=3))
    config = box().config
    assert config
    two = replace(config, balancer=replace(config.balancer, interfaces=("eth0", "eth1")))
    assert only(judge(box(interfaces=nics, config=two))).check == "redirect-unsupported"
    assert list(judge(box(interfaces=(OURS, replace(nics[1], xdp_features=7)), config=two))) == []


def test_all_slaves_of_a_bond_have_to_be_the_balancers() -> None:
    links = {2: Link("eth0", master=9), 3: Link("eth1", master=9), 9: Link("bond0", kind="bond")}
    nic = replace(OURS, master=9)
    finding = only(judge(box(interfaces=(nic,), links=links)))
    assert finding.check == "bond-partial"
    assert finding.fixes == ('set balancer.interface = ["eth0", "eth1"]',)
    both = (nic, replace(nic, name="eth1", index=3))
    assert list(judge(box(interfaces=both, links=links))) == []
    bridge = {**links, 9: Link("br0", kind="bridge")}
    assert list(judge(box(interfaces=(nic,), links=bridge))) == []


def test_tags_on_an_interface_without_balancer_vlan() -> None:
    links = {2: Link("eth0"), 5: Link("eth0.7", parent=2, vlan=7)}
    assert only(judge(box(interfaces=(OURS,), links=links))).seen == "eth0 has the VLANs eth0.7"
    assert list(judge(box("vlan = true", interfaces=(OURS,), links=links))) == []
