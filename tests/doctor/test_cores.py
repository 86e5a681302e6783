"""Queues, interrupts and rings of real NICs."""

from __future__ import annotations

from dataclasses import replace

from tests.rig.boxes import NIC, box, only
from xdplb.doctor.cores import judge
from xdplb.doctor.facts import Box, Channels, Interface, Interrupt, System

EIGHT = System(cores=8)


def of(nic: Interface, system: System = EIGHT) -> Box:
    return box(interfaces=(nic,), system=system)


def test_as_many_queues_as_cores_if_there_may_be() -> None:
    finding = only(judge(of(replace(NIC, channels=Channels(combined=2, max_combined=16)))))
    assert finding.fixes == ("ethtool -L eth0 combined 8",)
    assert list(judge(of(replace(NIC, channels=Channels(combined=4, max_combined=4))))) == []
    assert list(judge(of(replace(NIC, channels=Channels(combined=8, max_combined=16))))) == []
    separate = replace(NIC, channels=Channels(rx=1, tx=1, max_rx=4, max_tx=2))
    assert only(judge(of(separate))).fixes == ("ethtool -L eth0 rx 4 tx 2",)


def interrupts(*cores: int) -> tuple[Interrupt, ...]:
    return tuple(Interrupt(40 + n, f"eth0-TxRx-{n}", frozenset({core})) for n, core in enumerate(cores))


def test_interrupts_are_to_be_spread_over_cores() -> None:
    crowded = only(judge(of(replace(NIC, interrupts=interrupts(0, 0, 1, 1)))))
    assert crowded.seen == "the interrupts of eth0's 4 queues run on 2 cores only (0, 1)"
    assert crowded.fixes[3] == "echo 3 > /proc/irq/43/smp_affinity_list"
    assert list(judge(of(replace(NIC, interrupts=interrupts(0, 1, 2, 3))))) == []
    assert list(judge(of(replace(NIC, interrupts=interrupts(0, 1, 0, 1)), System(cores=2)))) == []


def test_irqbalance_is_stopped_first_since_it_would_take_that_back() -> None:
    balanced = System(cores=8, irqbalance=True)
    crowded = only(judge(of(replace(NIC, interrupts=interrupts(3, 3)), balanced)))
    assert crowded.fixes[0] == "systemctl disable --now irqbalance"


def test_rings_that_could_be_larger() -> None:
    assert only(judge(of(replace(NIC, ring=(256, 8192))))).fixes == ("ethtool -G eth0 rx 4096",)
    assert only(judge(of(replace(NIC, ring=(256, 2048))))).fixes == ("ethtool -G eth0 rx 2048",)
    assert list(judge(of(replace(NIC, ring=(256, 256))))) == []
    assert list(judge(of(replace(NIC, ring=(1024, 8192))))) == []
