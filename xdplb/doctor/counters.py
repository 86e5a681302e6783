"""What grows while the doctor looks, and what is nearly full. Pure. Reasons: docs/reasons.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from xdplb.doctor.facts import Box
from xdplb.doctor.finding import Finding

FULL = 0.9  # of a table
_LOOK = ("xdplb status",)

# Reason: its check, what to run.
_REASONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "passed_vlan": ("tags-arrive", ("set balancer.vlan = true, if VIPs are behind tags", "tcpdump -e -c 5 vlan")),
    "answered_too_big": ("packets-answered", ("ip link show", "xdplb status")),
    "answered_ttl": ("packets-answered", ("traceroute VIP    # from a client: a routing loop?",)),
    "dropped_unanswered": ("packets-answered", ("tcpdump -c 20 icmp or icmp6",)),
    "dropped_malformed": ("packets-lost", ("ethtool -k INTERFACE | grep large-receive",)),
    "dropped_fragment": ("packets-lost", ("tcpdump -c 20 'ip[6:2] & 0x1fff != 0'",)),
    "dropped_no_backend": ("packets-lost", _LOOK),
    "dropped_no_headroom": ("packets-lost", ('set balancer.mode = "generic"',)),
    "dropped_no_egress": ("packets-lost", _LOOK),
    "dropped_blocked": ("packets-refused", ("xdplb guard find ADDRESS",)),
    "dropped_packet_rate": ("packets-refused", _LOOK),
    "dropped_connection_rate": ("packets-refused", _LOOK),
    "dropped_service_rate": ("packets-refused", _LOOK),
}
_SEND = re.compile(r"xdp_tx_err|xdp_tx_full|xdp_tx_drop|xdp_xmit_err")
_RECEIVE = re.compile(
    r"^(rx_missed(_errors)?|rx_no_buffer(_count)?|rx_out_of_buffer|rx_no_dma_resources|rx_fifo_errors)$"
)


def judge(box: Box) -> Iterator[Finding]:
    """Yield what grew between the two samples, and what has little room left."""
    grown = growth(box.before.verdicts, box.after.verdicts)
    for reason, count in grown.items():
        if reason in _REASONS:
            check, fixes = _REASONS[reason]
            name = box.interfaces[0].name if box.interfaces else "INTERFACE"
            fixes = tuple(fix.replace("INTERFACE", name) for fix in fixes)
            yield Finding(check, f"{reason} grew by {count:,} in {box.took_s:.1f} s", fixes)
    for nic in box.interfaces:
        counters = growth(box.before.drivers.get(nic.name, {}), box.after.drivers.get(nic.name, {}))
        if lost := sum(n for name, n in counters.items() if _SEND.search(name)):
            seen = f"the driver of {nic.name} failed to send {lost:,} frames in {box.took_s:.1f} s (MTU {nic.mtu})"
            yield Finding("send-errors", seen, (f"ethtool -S {nic.name} | grep xdp", f"ip link show {nic.name}"))
        if missed := {name: n for name, n in counters.items() if _RECEIVE.match(name)}:
            lost = max(missed.values())  # some drivers count the same ones under two names
            seen = f"{nic.name} dropped {lost:,} packets in {box.took_s:.1f} s ({', '.join(missed)})"
            ring = f"ethtool -G {nic.name} rx {nic.ring[1]}" if nic.ring else f"ethtool -g {nic.name}"
            yield Finding("nic-drops", seen, (ring, f"ethtool -l {nic.name}"))
    for table in box.tables:
        if table.used >= FULL * table.room > 0:
            seen = f"{table.name}: {table.used:,} of {table.room:,}"
            yield Finding("table-full", seen, (f"set {table.setting} = {2 * table.room}",) if table.setting else _LOOK)


def growth(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return what has become more, and by how much."""
    return {name: n - before[name] for name, n in after.items() if name in before and n > before[name]}
