"""Is each interface there, and can the program run on it, and does it? Pure."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from xdplb.doctor.facts import Box, Interface
from xdplb.doctor.finding import Finding
from xdplb.doctor.running import detach_of
from xdplb.model import Mode

# include/uapi/linux/netdev.h, enum netdev_xdp_act
XDP_BASIC, XDP_SENDS_REDIRECTED, XDP_TAKES_BUFFERS = 1, 4, 32
LARGEST_BUFFER = 3498  # MTU: a page less headroom, skb_shared_info and Ethernet with two tags; drivers want some 3,500


def judge(box: Box) -> Iterator[Finding]:
    """Yield what is wrong with the balancer's interfaces and the programs on them."""
    for name in box.missing:
        there = ", ".join(sorted(link.name for link in box.links.values()))
        yield Finding("interface-missing", f"there is no interface {name!r}; there are: {there}", ("ip -br link",))
    for nic in box.interfaces:
        yield from _link(nic)
        yield from _program(box, nic)
        yield from _abilities(box, nic)
        yield from _parts(box, nic)
    yield from _bonds(box)


def _link(nic: Interface) -> Iterator[Finding]:
    if not nic.up:
        yield Finding("interface-down", f"{nic.name} is down", (f"ip link set {nic.name} up",))
    elif not nic.carrier:
        yield Finding("interface-down", f"{nic.name} has no carrier: cable, or the other end", (f"ethtool {nic.name}",))


def _program(box: Box, nic: Interface) -> Iterator[Finding]:
    wanted = box.config.balancer.mode if box.config else Mode.NATIVE
    if nic.program_id is None:
        if box.running and box.running.answers:
            yield Finding("program-missing", f"no XDP program is on {nic.name}", ("xdplb status", "ip link show"))
        return
    if nic.owner == box.name:
        if nic.xdp_mode == Mode.GENERIC:
            yield _generic(nic, wanted)
        return
    seen = f"{nic.name} has another XDP program: id {nic.program_id}, name {nic.program_name!r}"
    if nic.owner:
        yield Finding("program-foreign", f"{seen}, of {nic.owner!r}", (detach_of(nic.owner),))
    elif nic.by_link:
        yield Finding("program-foreign", f"{seen}, held by a bpf_link", (f"xdplb run {quote(box.path)} --replace",))
    else:
        kind = {"generic": "xdpgeneric", "offload": "xdpoffload"}.get(nic.xdp_mode or "", "xdpdrv")
        yield Finding("program-foreign", seen, (f"ip link set dev {nic.name} {kind} off",))


def _generic(nic: Interface, wanted: Mode) -> Finding:
    seen = f"the program on {nic.name} (driver {nic.driver}) runs in generic mode"
    able = nic.xdp_features is not None and nic.xdp_features & XDP_BASIC
    if wanted is Mode.GENERIC and able:
        return Finding("mode-generic", f"{seen}, and the driver could do native", ('set balancer.mode = "native"',))
    return Finding("mode-generic", seen, (f"ethtool -i {nic.name}",))


def _abilities(box: Box, nic: Interface) -> Iterator[Finding]:
    if box.config is None or nic.xdp_features is None or nic.parent:
        return
    balancer, can = box.config.balancer, nic.xdp_features
    if balancer.mode is Mode.NATIVE and not can & XDP_BASIC:
        seen = f"driver {nic.driver} of {nic.name} has no native XDP"
        yield Finding("mode-unsupported", seen, ('set balancer.mode = "generic"',))
    elif balancer.mode is Mode.NATIVE and nic.mtu > LARGEST_BUFFER and not can & XDP_TAKES_BUFFERS:
        seen = f"{nic.name} has MTU {nic.mtu}, and its driver {nic.driver} takes XDP frames of one buffer only"
        yield Finding("mtu-buffer", seen, (f"ip link set {nic.name} mtu 3000",))
    told = nic.peer and not nic.peer.has_program  # a veth takes them when its other end has a program
    if len(balancer.interfaces) > 1 and can & XDP_BASIC and not can & XDP_SENDS_REDIRECTED and not told:
        seen = f"driver {nic.driver} of {nic.name} does not take redirected frames"
        yield Finding("redirect-unsupported", seen, (f"ethtool -i {nic.name}", 'set balancer.mode = "generic"'))


def _parts(box: Box, nic: Interface) -> Iterator[Finding]:
    if nic.parent and box.config:
        parent = box.name_of(nic.parent)
        seen = f"{nic.name} is a VLAN of {parent}"
        yield Finding("vlan-interface", seen, (f'set balancer.interface = "{parent}" and balancer.vlan = true',))
    above = [link.name for link in box.links.values() if link.parent == nic.index]
    if above and box.config and not box.config.balancer.vlan:
        fix = "set balancer.vlan = true, if clients come through tags"
        yield Finding("vlan-ignored", f"{nic.name} has the VLANs {', '.join(above)}", (fix,))


def _bonds(box: Box) -> Iterator[Finding]:
    """Of a bond, either itself or all its slaves have to be the balancer's."""
    ours = {nic.index for nic in box.interfaces}
    for master in sorted({nic.master for nic in box.interfaces if nic.master} - ours):
        link = box.links.get(master)
        if link is None or link.kind != "bond":
            continue
        slaves = {index: other.name for index, other in box.links.items() if other.master == master}
        if others := sorted(name for index, name in slaves.items() if index not in ours):
            names = ", ".join(f'"{name}"' for name in sorted(slaves.values()))
            seen = f"{', '.join(others)} of {link.name} are not among the balancer's interfaces"
            yield Finding("bond-partial", seen, (f"set balancer.interface = [{names}]",))
