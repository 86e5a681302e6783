"""What is true for the whole host; it is judged on plain facts, since a namespace has none of its own."""

from __future__ import annotations

import pytest

from tests.rig.boxes import box, only
from xdplb.doctor.facts import System
from xdplb.doctor.host import judge


@pytest.mark.parametrize(
    ("system", "check", "fix"),
    [
        (System(kernel=(5, 15)), "kernel-old", "apt install"),
        (System(bpffs=False), "bpffs-missing", "mount -t bpf bpf /sys/fs/bpf"),
        (System(jit=0), "jit-off", "sysctl -w net.core.bpf_jit_enable=1"),
        (System(harden=2), "jit-hardened", "sysctl -w net.core.bpf_jit_harden=1"),
        (System(synchronised=False), "clock-unsynchronised", "timedatectl set-ntp true"),
    ],
)
def test_a_fault_of_the_host_is_told(system: System, check: str, fix: str) -> None:
    finding = only(judge(box(system=system)))
    assert finding.check == check
    assert fix in finding.fixes[0]


def test_what_is_fine_or_not_known_is_not_told() -> None:
    for system in (System(), System(jit=None, harden=None, synchronised=None), System(harden=1, jit=2)):
        assert list(judge(box(system=system))) == []


def test_locked_memory_matters_only_to_old_kernels() -> None:
    assert list(judge(box(system=System(memlock_unlimited=False)))) == []
    found = [f.check for f in judge(box(system=System(kernel=(5, 4), memlock_unlimited=False)))]
    assert found == ["kernel-old", "memlock"]
