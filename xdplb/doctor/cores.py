"""Are all cores at work? Queues, their interrupts, their rings. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.doctor.facts import Box, Channels, Interface
from xdplb.doctor.finding import Finding

RING = 1024  # descriptors: some 70 us of 64-byte packets at 10 Gbit/s


def judge(box: Box) -> Iterator[Finding]:
    """Yield what keeps cores from balancing."""
    for nic in box.interfaces:
        if nic.channels:
            yield from _queues(nic, nic.channels, box.system.cores)
        yield from _interrupts(nic, box.system.cores, box.system.irqbalance)
        if nic.ring and nic.ring[0] < min(RING, nic.ring[1]):
            now, most = nic.ring
            seen = f"the receive rings of {nic.name} have room for {now} packets of at most {most}"
            yield Finding("ring-small", seen, (f"ethtool -G {nic.name} rx {min(most, 4 * RING)}",))
        if nic.rps_queues:
            seen = f"RPS is on for {len(nic.rps_queues)} queues of {nic.name}"
            fix = f"for q in /sys/class/net/{nic.name}/queues/rx-*; do echo 0 > $q/rps_cpus; done"
            yield Finding("rps", seen, (fix,))


def _queues(nic: Interface, has: Channels, cores: int) -> Iterator[Finding]:
    now, most = has.rx + has.combined, max(has.max_combined, has.max_rx)
    wanted = min(cores, most)
    if now >= wanted:
        return
    seen = f"{nic.name} has {now} of {most} receive queues, the box has {cores} cores"
    separate = f"rx {wanted} tx {min(cores, has.max_tx)}"
    yield Finding(
        "queues-few", seen, (f"ethtool -L {nic.name} {f'combined {wanted}' if has.max_combined else separate}",)
    )


def _interrupts(nic: Interface, cores: int, irqbalance: bool) -> Iterator[Finding]:
    where = {core for interrupt in nic.interrupts for core in interrupt.cores}
    wanted = min(len(nic.interrupts), cores)
    if len(where) >= wanted:
        return
    names = ", ".join(str(core) for core in sorted(where))
    seen = f"the interrupts of {nic.name}'s {len(nic.interrupts)} queues run on {len(where)} cores only ({names})"
    fixes = [f"echo {n % cores} > /proc/irq/{irq.number}/smp_affinity_list" for n, irq in enumerate(nic.interrupts)]
    stop = ["systemctl disable --now irqbalance"] if irqbalance else []  # it would take that back
    yield Finding("interrupts-crowded", seen, (*stop, *fixes))
