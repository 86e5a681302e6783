"""What NICs do to packets before or behind the program: offloads, and the other end of a veth. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from xdplb.doctor.facts import Box, Interface, Peer
from xdplb.doctor.finding import Finding

_PASS = (
    "echo '__attribute__((section(\"xdp\"))) int pass(void *c) { return 2; }' | "
    "clang -O2 -target bpf -xc -c - -o /run/pass.o"
)
_PUT = "ip link set dev {} xdp obj /run/pass.o sec xdp"


def judge(box: Box) -> Iterator[Finding]:
    """Yield the offloads that hurt."""
    tagged = box.config is not None and box.config.balancer.vlan
    for nic in box.interfaces:
        on = nic.features or frozenset()
        if "rx-lro" in on:
            yield Finding("lro", f"LRO is on at {nic.name}", (f"ethtool -K {nic.name} lro off",))
        if "rx-gro-hw" in on:
            yield Finding(
                "gro-hardware", f"GRO by hardware is on at {nic.name}", (f"ethtool -K {nic.name} rx-gro-hw off",)
            )
        if tagged and "rx-vlan-hw-parse" in on:
            fix = f"ethtool -K {nic.name} rxvlan off txvlan off"
            yield Finding("tags-hidden", f"balancer.vlan is on, and {nic.name} takes tags off by itself", (fix,))
        if nic.peer:
            yield from _peer(nic, nic.peer, tagged)


def _peer(nic: Interface, peer: Peer, tagged: bool) -> Iterator[Finding]:
    there = f"nsenter --net={peer.namespace} " if peer.namespace else ""
    end = f"{peer.name}, the other end of {nic.name},"
    if not peer.has_program:
        yield Finding("peer-program", f"{end} has no XDP program", (_PASS, f"{there}{_PUT.format(peer.name)}"))
    if peer.tx_checksum:
        yield Finding("peer-checksum", f"{end} leaves checksums open", (f"{there}ethtool -K {peer.name} tx off",))
    if tagged and peer.tx_tags:
        fix = f"{there}ethtool -K {peer.name} txvlan off"
        yield Finding("tags-hidden", f"balancer.vlan is on, and {end} keeps tags beside the frames", (fix,))
