"""What the doctor can find: every check by its id, with its severity and why it matters. Pure.

docs/doctor.md shows the same table; a test compares them. A check has one severity, so that scripts can rely on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How bad it is; the order in which findings are shown."""

    ERROR = 0  # packets are lost, or nothing can work
    WARNING = 1  # it works worse than it could, or will not for long
    NOTICE = 2  # worth knowing

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `fixes` are commands; `where`: the host to run them on, "": this one."""

    check: str
    seen: str
    fixes: tuple[str, ...] = ()
    where: str = ""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return CHECKS[self.check][0]

    @property
    def why(self) -> str:
        """Why it matters."""
        return CHECKS[self.check][1]


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Something that could not be looked at."""

    what: str
    why: str


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTICE

CHECKS: dict[str, tuple[Severity, str]] = {
    # the configuration and the daemon
    "config-invalid": (_E, "the daemon will not start with this file, and does not take it up"),
    "daemon-hangs": (_E, "nothing is checked, and no change reaches the kernel"),
    "reconcile-failed": (_E, "the kernel's tables are not what they should be"),
    "config-differs": (_W, "what the file says is not what is balanced: a reload or a restart takes it up"),
    "daemon-dead": (_W, "packets are forwarded as the daemon left it, also to backends that have died since"),
    "daemon-warns": (_W, "the daemon itself says so"),
    "open-files": (_W, "each probe is a socket: without enough of them, checks come late or fail"),
    "daemon-starting": (_N, "it answers when routes, neighbours and first checks are known"),
    "daemon-absent": (_N, "nothing is balanced"),
    "leftover": (_N, "it takes memory in the kernel, and another balancer of that name would take it up"),
    # interfaces and the program on them
    "interface-missing": (_E, "no packet can come in by it"),
    "interface-down": (_E, "no packet comes in or leaves by it"),
    "program-foreign": (_E, "an interface has room for one XDP program: xdplb does not start"),
    "program-missing": (_E, "packets for the VIPs are not balanced there"),
    "mode-unsupported": (_E, "the driver cannot run the program as configured, so it will not be attached"),
    "redirect-unsupported": (_E, "packets that have to leave by this interface and came in by another one are lost"),
    "mtu-buffer": (_E, "a frame that needs several buffers cannot be taken by XDP with this driver"),
    "peer-program": (_E, "a veth drops what its peer sends by XDP_TX, without a word, unless it has a program, too"),
    "peer-checksum": (_E, "a veth leaves checksums open for hardware that is not there; who gets the packet drops it"),
    "lro": (_E, "packets are put together by the NIC, and are then too long for the way on"),
    "tags-hidden": (_E, "the NIC takes tags off the frames before the program sees them, so they leave untagged"),
    "bond-partial": (_W, "packets that come in by the bond's other slaves are not balanced"),
    "vlan-interface": (_W, "XDP runs on it only in generic mode, which is many times slower"),
    "mode-generic": (_W, "the program runs late, after the kernel has made an skb of each packet: many times slower"),
    "gro-hardware": (_W, "the NIC puts packets together; with many drivers XDP cannot be attached then"),
    "vlan-ignored": (_N, "there are tags on this interface; VIPs behind tags need balancer.vlan = true"),
    # cores
    "queues-few": (_W, "only as many cores as there are queues can balance"),
    "interrupts-crowded": (_W, "queues whose interrupts meet on one core share it, and others idle"),
    "ring-small": (_W, "a burst that comes while the core is busy does not fit"),
    "rps": (_N, "it comes after XDP: it spreads nothing that is balanced, and costs what passes an interrupt"),
    # the system
    "kernel-old": (_E, "xdplb wants managed neighbours: Linux 5.16"),
    "memlock": (_E, "before Linux 5.11, tables count as locked memory, and cannot be made"),
    "bpffs-missing": (_W, "program and tables are pinned there, so that they outlive the daemon"),
    "jit-off": (_W, "the program is interpreted: many times slower"),
    "jit-hardened": (_W, "constants of root's programs are blinded, too, which makes them slower"),
    "clock-unsynchronised": (_W, "certificates seem expired or not valid yet, and logs of hosts do not match"),
    # the ways to backends
    "route-missing": (_E, "these backends get nothing"),
    "route-elsewhere": (_E, "XDP can only send by the balancer's interfaces: these backends get nothing"),
    "backend-here": (_E, 'an address of this box cannot be a backend; such services have forward = "local"'),
    "link-needed": (_E, 'forward = "l2" changes only the Ethernet header: a router in between does not know the VIP'),
    "neighbour-silent": (_E, "nobody answers for the next hop: these backends get nothing"),
    "neighbour-ours": (_E, "frames to this next hop carry this box's own MAC address, and reach nobody"),
    "neighbour-wrong": (_E, "the kernel knows another MAC address than the one that answers: frames go astray"),
    "neighbour-twice": (_E, "two hosts claim one address: frames go now to one, now to the other"),
    "answers-dropped": (_E, "strict rp_filter drops the backends' answers to checks, so they count as down"),
    "neighbour-unknown": (_N, "nobody has asked for it yet, so it is not known whether it answers"),
    "way-back": (_N, "answers to checks come in by another interface than questions leave by: firewalls may mind"),
    "mtu-interface": (_W, "full-sized packets with the outer header do not fit: clients are told to send less"),
    "mtu-route": (_W, "full-sized packets with the outer header do not fit: clients are told to send less"),
    # VIPs
    "vip-not-here": (_E, 'forward = "local" hands packets to this box, which does not take them'),
    "probe-way": (_E, "checks through the tunnel cannot pass, so backends count as down"),
    "probe-blind": (_W, "checks go directly instead of through the tunnel: they see no missing agent or VIP"),
    "filter-in-front": (_W, "it may have the last word on probes through the tunnel, before they get their header"),
    "vip-here": (_W, "what XDP passes is answered by this box itself, and probes through the tunnel never leave"),
    "forwarding-loop": (_W, "what is for a VIP and no service goes back to the router, and so on until its TTL ends"),
    "block-everything": (_W, "nearly every client is refused"),
    "block-own": (_W, "these hosts' own requests to VIPs are dropped"),
    # services, as the daemon sees them
    "service-down": (_E, "new connections to it fail"),
    "service-idle": (_E, "no backend may get new connections: they fail"),
    "backend-silent": (_W, "it does not answer at its own address either: host, network or firewall"),
    "backend-tunnel": (_W, "it answers directly and not through the tunnel: its decap agent or a VIP is missing"),
    "backend-refuses": (_W, "the packet arrives, and nobody listens there"),
    "backend-down": (_W, "its checks fail"),
    "check-warns": (_W, "a check passes now and may fail soon"),
    "service-panic": (_W, "too few backends are up: checks are not believed, and dead ones get flows, too"),
    "service-fallback": (_W, "all its backends are down, and another service's serve"),
    "tunnel-unchecked": (_N, "a missing decap agent or VIP on a backend would not be noticed"),
    # what is counted while the doctor looks
    "packets-lost": (_E, "packets for VIPs are being dropped"),
    "send-errors": (_E, "the driver drops what the program sends: too long, or its queue is full"),
    "nic-drops": (_W, "the NIC drops what comes in: its rings are full, or there are too few cores"),
    "tags-arrive": (_W, "tagged frames arrive, and nothing that is configured has to do with tags"),
    "packets-answered": (_W, "senders are being told that their packets are too long or at their end"),
    "packets-refused": (_N, "limits or the block list are at work"),
    "table-full": (_W, "what does not fit is forgotten or not remembered"),
}


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings, the worst first, otherwise in the order of the catalogue."""
    order = {check: number for number, check in enumerate(CHECKS)}
    return sorted(findings, key=lambda finding: (finding.severity, order[finding.check]))


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 0: nothing, or notices only; 1: warnings; 3: errors. 2 is what wrong usage ends with."""
    worst = min((finding.severity for finding in findings), default=Severity.NOTICE)
    return {Severity.ERROR: 3, Severity.WARNING: 1, Severity.NOTICE: 0}[worst]


def few(names: Iterable[object], most: int = 3) -> str:
    """Name some, and say how many there are besides."""
    texts = [str(name) for name in names]
    rest = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {rest} more" if rest > 0 else "")
