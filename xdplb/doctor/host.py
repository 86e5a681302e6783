"""The kernel, its limits, its clock: what is true for the whole host. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.doctor.facts import Box
from xdplb.doctor.finding import Finding

LEAST_KERNEL = (5, 16)
TABLES_NOT_LOCKED = (5, 11)  # from here on, memory of BPF is charged to the cgroup
HARDEN_ALL = 2  # Documentation/admin-guide/sysctl/net.rst


def judge(box: Box) -> Iterator[Finding]:
    """Yield what is wrong with the host."""
    system = box.system
    version = ".".join(map(str, system.kernel))
    if system.kernel < LEAST_KERNEL:
        yield Finding("kernel-old", f"this is Linux {version}", ("apt install linux-image-amd64",))
    if system.kernel < TABLES_NOT_LOCKED and not system.memlock_unlimited:
        fix = "systemctl edit xdplb    # [Service] LimitMEMLOCK=infinity"
        yield Finding("memlock", f"locked memory is limited, on Linux {version}", ("ulimit -l unlimited", fix))
    if not system.bpffs:
        yield Finding("bpffs-missing", "no bpffs is on /sys/fs/bpf", ("mount -t bpf bpf /sys/fs/bpf",))
    if system.jit == 0:
        fix = "sysctl -w net.core.bpf_jit_enable=1"
        yield Finding("jit-off", "net.core.bpf_jit_enable is 0", (fix,))
    if system.harden == HARDEN_ALL:
        yield Finding("jit-hardened", "net.core.bpf_jit_harden is 2", ("sysctl -w net.core.bpf_jit_harden=1",))
    if system.synchronised is False:
        seen = "the clock is not synchronised"
        yield Finding("clock-unsynchronised", seen, ("timedatectl set-ntp true",))
