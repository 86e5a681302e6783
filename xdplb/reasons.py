"""Why a packet was not forwarded: what each reason of `struct verdicts` (bpf/maps.h) means, and what to do about it.

A test compares this with the table in docs/reasons.md: both say the same.
"""

from __future__ import annotations

from typing import NamedTuple

NOTHING = "nothing"  # the fix where all is well


class Reason(NamedTuple):
    """What people should know of a reason; `fix` is "nothing" where all is well."""

    meaning: str
    fix: str


REASONS = {
    "passed_not_ip": Reason(
        "ARP or another protocol than IP; or IP of a family in which no VIP is configured", "nothing"
    ),
    "passed_vlan": Reason(
        "a tagged frame, but nothing that is configured has to do with VLANs; or more than two tags",
        "when clients come through tags: `balancer.vlan = true`",
    ),
    "passed_truncated": Reason("the frame ends inside its headers", "look for a broken sender when it grows"),
    "passed_protocol": Reason("a protocol that no service has, or more than eight IPv6 extension headers", "nothing"),
    "passed_icmp": Reason(
        "ICMP that is not about a flow to a VIP: the host's own, neighbour discovery, pings to this host", "nothing"
    ),
    "passed_fragment": Reason("a later fragment for this host itself", "nothing"),
    "passed_no_service": Reason(
        "no VIP with this address, port and protocol: traffic of this host itself",
        "when clients are meant: compare with `vips`",
    ),
    "answered_echo": Reason("a ping to a VIP was answered", "nothing"),
    "answered_too_big": Reason(
        "longer than the way to its backend lets through: the sender was told to send less",
        "nothing when it stays small; raise the MTU towards the backends when every connection begins so",
    ),
    "answered_ttl": Reason(
        "at the end of its time to live: the sender was told",
        "nothing: traceroute; when it grows, look for a routing loop",
    ),
    "dropped_unanswered": Reason(
        "as the three above, but too many at once (`answers_per_s`), or to somebody who may not be told",
        "look who sends them",
    ),
    "dropped_malformed": Reason(
        "for a VIP, but by its own account longer than the frame", "look for a broken sender or for a NIC with LRO on"
    ),
    "dropped_fragment": Reason(
        "a fragment to a VIP whose first one has not been seen: out of order, or long ago",
        "keep clients from fragmenting: UDP payloads that fit the path",
    ),
    "dropped_blocked": Reason("its source is on the block list", "nothing"),
    "dropped_packet_rate": Reason(
        "its source sends more packets than the service's `limits` allow", "raise the limit when it is a good one"
    ),
    "dropped_connection_rate": Reason(
        "its source opens more connections than allowed", "raise the limit when it is a good one"
    ),
    "dropped_service_rate": Reason(
        "all clients together open more connections than allowed", "raise the limit when they are good ones"
    ),
    "dropped_no_backend": Reason("no backend of the service is up", "see the backends' states in `xdplb status`"),
    "dropped_no_headroom": Reason(
        "the driver leaves no room for the outer header in front of the frame", 'another NIC or `mode = "generic"`'
    ),
    "dropped_no_egress": Reason(
        "the interface that it should leave by has vanished or takes no redirected frames",
        "see `interfaces` in `xdplb status`",
    ),
}
