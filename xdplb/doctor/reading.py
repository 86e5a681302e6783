"""What /proc and /sys say of the host and of interfaces. What is not there is None, not a guess."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
from collections.abc import Collection
from pathlib import Path

from xdplb.doctor.facts import Interrupt, System

PROC, SYS = Path("/proc"), Path("/sys")
_UNSYNCHRONISED = 0x40  # STA_UNSYNC, include/uapi/linux/timex.h
_STATUS_AT = 40  # offset of `status` in struct timex, where long has 8 bytes
_TIMEX_BYTES = 208
_LOST = ("rx_missed_errors", "rx_fifo_errors")


def read_text(path: Path) -> str:
    """Return a file's text, "" when it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def read_number(path: Path) -> int | None:
    """Return the number in a file; None when there is none."""
    with contextlib.suppress(ValueError):
        return int(read_text(path))
    return None


def read_system() -> System:
    """Return what is true for the whole host."""
    release = [int(number) for number in re.findall(r"\d+", os.uname().release)[:2]]
    return System(
        kernel=(release[0], release[1]),
        bpffs=has_bpffs(read_text(PROC / "self/mounts")),
        memlock_unlimited=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY,
        jit=read_number(PROC / "sys/net/core/bpf_jit_enable"),
        harden=read_number(PROC / "sys/net/core/bpf_jit_harden"),
        synchronised=clock_synchronised(),
        cores=os.cpu_count() or 1,
        irqbalance=runs("irqbalance"),
    )


def has_bpffs(mounts: str) -> bool:
    """Whether the uppermost file system on /sys/fs/bpf is bpffs; `mounts` as /proc/self/mounts has it."""
    kinds = [line.split()[2] for line in mounts.splitlines() if line.split()[1:2] == ["/sys/fs/bpf"]]
    return kinds[-1:] == ["bpf"]


def clock_synchronised() -> bool | None:
    """Whether the kernel believes that somebody keeps its clock right (adjtimex(2)); None: it does not say."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: change nothing
    if ctypes.sizeof(ctypes.c_long) != 8 or ctypes.CDLL(None).adjtimex(timex) < 0:
        return None
    return not int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], "little") & _UNSYNCHRONISED


def runs(command: str) -> bool:
    """Whether a process of this name runs."""
    return any(read_text(path).strip() == command for path in PROC.glob("[0-9]*/comm"))


def open_files(pid: int) -> int | None:
    """Return how many files a process may open; None when it cannot be read, or there is no limit."""
    found = re.search(r"^Max open files\s+(\d+)", read_text(PROC / str(pid) / "limits"), re.M)
    return int(found[1]) if found else None


# --- interfaces ---------------------------------------------------------------------------------------------


def setting(family: str, name: str, key: str) -> int:
    """Return net.FAMILY.conf.NAME.KEY, 0 where it is not there."""
    return read_number(PROC / "sys/net" / family / "conf" / name / key) or 0


def rp_filter(name: str) -> int:
    """Return what is in force: the kernel takes the larger one."""
    return max(setting("ipv4", "all", "rp_filter"), setting("ipv4", name, "rp_filter"))


def rps_queues(name: str, sys: Path = SYS) -> tuple[str, ...]:
    """Return the receive queues whose packets are handed to other cores by software."""
    found = sorted((sys / "class/net" / name / "queues").glob("rx-*/rps_cpus"))
    return tuple(path.parent.name for path in found if re.search(r"[1-9a-f]", read_text(path)))


def read_interrupts(name: str, sys: Path = SYS, proc: Path = PROC) -> tuple[Interrupt, ...]:
    """Return the interrupts of a NIC's queues; those of its configuration and the like are left out."""
    device = sys / "class/net" / name / "device"
    numbers = {int(path.name) for place in (".", "..") for path in (device / place).glob("msi_irqs/*")}
    names = queue_interrupts(read_text(proc / "interrupts"), numbers)
    return tuple(Interrupt(number, called, _cores(number, proc)) for number, called in sorted(names.items()))


def queue_interrupts(text: str, numbers: Collection[int]) -> dict[int, str]:
    """Return the names of those that are some queue's, of /proc/interrupts; drivers call them eth0-TxRx-3 and alike.

    Where send and receive queues have their own, the receive queues' are returned.
    """
    found = {}
    for line in text.splitlines():
        number, _, rest = line.strip().partition(":")
        if number.isdigit() and int(number) in numbers and re.search(r"\d", rest.split()[-1]):
            found[int(number)] = rest.split()[-1]
    receiving = {n: name for n, name in found.items() if re.search(r"rx|input", name, re.I)}
    return receiving or {n: name for n, name in found.items() if re.search(r"[-_.@:]?\d+$", name)}


def _cores(number: int, proc: Path) -> frozenset[int]:
    place = proc / "irq" / str(number)
    return parse_cores(read_text(place / "effective_affinity_list") or read_text(place / "smp_affinity_list"))


def parse_cores(text: str) -> frozenset[int]:
    """Return the numbers in a list such as `0-3,8`."""
    found: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def lost_on_the_way_in(name: str, sys: Path = SYS) -> dict[str, int]:
    """Return how many packets a NIC had no room for, as the kernel counts them for all drivers."""
    counters = {key: read_number(sys / "class/net" / name / "statistics" / key) for key in _LOST}
    return {key: value for key, value in counters.items() if value is not None}
