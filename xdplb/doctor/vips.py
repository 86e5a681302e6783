"""Whose are the VIPs, what becomes of what XDP passes, and who may talk to them? Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xdplb.doctor.facts import Box
from xdplb.doctor.finding import Finding, few
from xdplb.health.kinds import Through
from xdplb.health.subjects import places
from xdplb.model import Address, Forward, Service
from xdplb.traps import find_traps


def judge(box: Box) -> Iterator[Finding]:
    """Yield what is wrong with the VIPs."""
    local = {vip.address for s in box.services if s.forward is Forward.LOCAL for vip in s.vips}
    for vip, way in box.vip_ways.items():
        if way.local and vip not in local:
            yield Finding("vip-here", f"the VIP {vip} is an address of this box", (_take_off(box, vip),))
        elif not way.local and vip in local:
            yield Finding(
                "vip-not-here", f"the VIP {vip} is no address of this box", (f"ip addr add {_prefix(vip)} dev lo",)
            )
    yield from _loops(box, local)
    yield from _traps(box)
    for name, what in box.filters:
        fix = f"tc filter show dev {name} egress"
        yield Finding("filter-in-front", f"on the way out of {name}, {what} is in front of the probes' filter", (fix,))
    yield from _blocks(box)


def probed(service: Service, *ways: Through) -> list[Address]:
    """Return the addresses that checks by these ways ask."""
    checks = [check for check in service.checks if check.through in ways]
    return [vip.address for check in checks for vip in places(check, service)]


def _traps(box: Box) -> Iterator[Finding]:
    """What is in the way of probes: fatal for checks that know no other way."""
    only = {vip for service in box.services for vip in probed(service, Through.TUNNEL)}
    for route in box.probe_routes:
        for trap in [] if route.local else find_traps([route]):  # an own address is told apart
            head = trap.split("`")[0]  # what is wrong; then, before the command, what it is for
            seen = head[: head.rfind(";") if ";" in head else head.rfind(":")]
            check = "probe-way" if route.vip in only else "probe-blind"
            yield Finding(check, seen, tuple(re.findall(r"`([^`]+)`", trap)))


def _prefix(vip: Address) -> str:
    return f"{vip}/{vip.max_prefixlen}"


def _take_off(box: Box, vip: Address) -> str:
    if vip not in box.addresses:
        return f"ip route del local {_prefix(vip)}"
    index, length = box.addresses[vip]
    return f"ip addr del {vip}/{length} dev {box.name_of(index)}"


def _loops(box: Box, local: set[Address]) -> Iterator[Finding]:
    """What XDP passes is routed, if this host is a router: back to where the VIP's packets come from."""
    back: dict[tuple[int, int], list[Address]] = {}
    for vip, way in box.vip_ways.items():
        if not way.error and not way.local and way.gateway and vip not in local:
            back.setdefault((way.oif, vip.version), []).append(vip)
    for (oif, version), vips in back.items():
        arrives = [nic.name for nic in box.interfaces if _forwards(box, nic.index, version)]
        if arrives:
            seen = f"this box routes what comes in by {few(arrives)}; to {few(vips)} that is by {box.name_of(oif)}"
            rules = [f"ip {_FAMILY[version]} rule add iif {arrives[0]} to {_prefix(vip)} blackhole" for vip in vips[:3]]
            yield Finding("forwarding-loop", seen, tuple(rules))


_FAMILY = {4: "-4", 6: "-6"}


def _forwards(box: Box, index: int, version: int) -> bool:
    link = box.links.get(index)
    return link is not None and (link.forwarding if version == 4 else link.forwarding6)


def _blocks(box: Box) -> Iterator[Finding]:
    for prefix in box.wide_blocks:
        yield Finding("block-everything", f"{prefix} is on the block list", (f"xdplb guard forget {prefix}",))
    by_prefix: dict[str, list[Address]] = {}
    for address, prefix in box.blocked.items():
        if prefix not in box.wide_blocks:
            by_prefix.setdefault(prefix, []).append(address)
    for prefix, addresses in by_prefix.items():
        seen = f"{prefix} on the block list covers {few(addresses)}: of backends, next hops or this box"
        yield Finding("block-own", seen, tuple(f"xdplb guard allow {_prefix(address)}" for address in addresses[:3]))
