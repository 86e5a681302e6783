"""/proc and /sys, as texts and folders of a test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xdplb.doctor import reading
from xdplb.doctor.facts import Interrupt

INTERRUPTS = """           CPU0       CPU1
  9:          0          4 PCI-MSIX-0000:01:00.0   0-edge      i40e-0000:01:00.0:misc
 40:       1234          0 PCI-MSIX-0000:01:00.0   1-edge      i40e-eth0-TxRx-0
 41:          0       9340 PCI-MSIX-0000:01:00.0   2-edge      i40e-eth0-TxRx-1
 50:          0       9340 PCI-MSIX-0000:02:00.0   2-edge      i40e-eth1-TxRx-1
LOC:    9778017   10235008   Local timer interrupts
"""
VIRTIO = """           CPU0       CPU1
 37:          0          0 PCI-MSIX-0000:00:03.0   0-edge      virtio2-config
 38:          0      32638 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
 39:      29083          0 PCI-MSIX-0000:00:03.0   2-edge      virtio2-output.0
"""


def test_the_interrupts_of_queues_are_told_from_others() -> None:
    assert reading.queue_interrupts(INTERRUPTS, {9, 40, 41}) == {40: "i40e-eth0-TxRx-0", 41: "i40e-eth0-TxRx-1"}
    assert reading.queue_interrupts(VIRTIO, {37, 38, 39}) == {38: "virtio2-input.0"}  # what it sends is another's work
    assert reading.queue_interrupts("", {1}) == {}


def test_where_they_run_is_read_by_number(tmp_path: Path) -> None:
    sys, proc = tmp_path / "sys", tmp_path / "proc"
    (sys / "class/net/eth0/device/msi_irqs/40").mkdir(parents=True)
    (proc / "irq/40").mkdir(parents=True)
    (proc / "interrupts").write_text(INTERRUPTS)
    (proc / "irq/40/smp_affinity_list").write_text("0-1\n")
    assert reading.read_interrupts("eth0", sys, proc) == (Interrupt(40, "i40e-eth0-TxRx-0", frozenset({0, 1})),)
    (proc / "irq/40/effective_affinity_list").write_text("1\n")  # where it really goes
    assert reading.read_interrupts("eth0", sys, proc)[0].cores == {1}
    assert reading.read_interrupts("eth9", sys, proc) == ()


def test_rps_is_on_where_a_mask_is_not_zero(tmp_path: Path) -> None:
    for queue, mask in (("rx-0", "00000000,00000000\n"), ("rx-1", "00000000,0000000e\n")):
        (tmp_path / "class/net/eth0/queues" / queue).mkdir(parents=True)
        (tmp_path / "class/net/eth0/queues" / queue / "rps_cpus").write_text(mask)
    assert reading.rps_queues("eth0", tmp_path) == ("rx-1",)


def test_what_found_no_room_is_counted_for_all_drivers(tmp_path: Path) -> None:
    place = tmp_path / "class/net/eth0/statistics"
    place.mkdir(parents=True)
    (place / "rx_missed_errors").write_text("7\n")
    assert reading.lost_on_the_way_in("eth0", tmp_path) == {"rx_missed_errors": 7}


@pytest.mark.parametrize(
    ("mounts", "there"),
    [
        ("bpf /sys/fs/bpf bpf rw 0 0\n", True),
        ("sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf2 bpf rw 0 0\n", False),
        ("bpf /sys/fs/bpf bpf rw 0 0\ntmpfs /sys/fs/bpf tmpfs rw 0 0\n", False),  # hidden
        ("", False),
    ],
)
def test_bpffs_is_there_when_it_is_uppermost(mounts: str, there: bool) -> None:
    assert reading.has_bpffs(mounts) is there


def test_lists_of_cores() -> None:
    assert reading.parse_cores("0-3,8\n") == {0, 1, 2, 3, 8}
    assert reading.parse_cores("") == frozenset()


def test_what_is_not_there_is_not_guessed(tmp_path: Path) -> None:
    assert reading.read_text(tmp_path / "nothing") == ""
    assert reading.read_number(tmp_path / "nothing") is None
    assert reading.setting("ipv4", "eth99", "rp_filter") == 0


def test_this_host_is_described() -> None:
    system = reading.read_system()
    assert os.uname().release.startswith(f"{system.kernel[0]}.{system.kernel[1]}")
    assert system.cores >= 1
    assert reading.clock_synchronised() in (True, False)
    assert reading.open_files(os.getpid())
    assert reading.runs(Path("/proc/self/comm").read_text().strip())
    assert not reading.runs("no-such-command")


@pytest.mark.root
def test_a_host_without_bpffs_and_with_little_locked_memory_is_seen() -> None:
    told = "from xdplb.doctor.reading import read_system as s; print(s().bpffs, s().memlock_unlimited)"
    argv = ["sh", "-c", f"umount -l /sys/fs/bpf; ulimit -l 64; exec {sys.executable} -c '{told}'"]
    done = subprocess.run(["unshare", "-m", *argv], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr
