"""Offloads of real drivers; those of a veth: test_look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.rig.boxes import NIC, box, only
from xdplb.doctor.facts import Peer
from xdplb.doctor.offloads import judge


@pytest.mark.parametrize(
    ("feature", "check", "fix"),
    [
        ("rx-lro", "lro", "ethtool -K eth0 lro off"),
        ("rx-gro-hw", "gro-hardware", "ethtool -K eth0 rx-gro-hw off"),
    ],
)
def test_what_puts_packets_together_is_told(feature: str, check: str, fix: str) -> None:
    finding = only(judge(box(interfaces=(replace(NIC, features=frozenset({feature})),))))
    assert (finding.check, finding.fixes) == (check, (fix,))


def test_nothing_is_said_when_it_is_off_or_not_known_or_harmless() -> None:
    for features in (frozenset(), None, frozenset({"rx-gro", "rx-vlan-hw-parse", "tx-checksum-ip-generic"})):
        assert list(judge(box(interfaces=(replace(NIC, features=features),)))) == []
    peer = Peer("lb", "", has_program=True, tx_checksum=False)
    assert list(judge(box(interfaces=(replace(NIC, peer=peer),)))) == []


def test_a_peer_is_mended_in_its_own_namespace() -> None:
    peer = Peer("lb", "/run/netns/router", has_program=True, tx_checksum=True)
    finding = only(judge(box(interfaces=(replace(NIC, peer=peer),))))
    assert finding.fixes == ("nsenter --net=/run/netns/router ethtool -K lb tx off",)


def test_tags_that_a_peer_keeps_aside_matter_to_those_who_want_tags() -> None:
    nic = replace(NIC, peer=Peer("lb", "", has_program=True, tx_checksum=False, tx_tags=True))
    assert list(judge(box(interfaces=(nic,)))) == []
    assert only(judge(box("vlan = true", interfaces=(nic,)))).fixes == ("ethtool -K lb txvlan off",)
