"""The testbed's network: every host a network namespace of its own, nothing leaves the machine, nothing stays behind.

                         ┌─────────── lb  10.0.2.2  fd00:2::2    (the balancer's XDP program on eth0)
                         │ MTU 1600
    client ────────── router ──────── b1  10.0.11.2 fd00:11::2   (decap on eth0, the VIPs on lo)
    10.0.1.2-40 MTU 1500 │ ────────── b2  10.0.12.2 fd00:12::2
    fd00:1::2-40         └ ────────── b3  10.0.13.2 fd00:13::2   ... as many as wanted
                           MTU 1600
    VIPs 10.9.9.9 and fd00:9::9: the router sends them to the lb.

    request: client → router → lb ⟲ → router → backend (inside an outer header from the lb on)
    reply:   backend → router → client (direct server return: the lb never sees it)

The router's end of a wire is named after the host, the host's end is eth0; the router is 10.0.N.1, fd00:N::1.
A wire is a veth pair. What veth needs that a NIC does not stands where it is set.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tools.lab.record import sweep

__all__ = ["VIP4", "VIP6", "Counters", "Lab", "address", "sweep"]

VIP4, VIP6 = "10.9.9.9", "fd00:9::9"
CLIENT_ADDRESSES = range(2, 41)  # many, so that many connections never want for ports
MOST_BACKENDS = 200
MTU, WIDE_MTU = 1500, 1600  # a client's packet; that and an outer IPv6 header, rounded up

# mov r0, XDP_PASS; exit
_XDP_PASS = bytes.fromhex("b700000002000000" "9500000000000000")


class Counters(NamedTuple):
    """What an interface has counted since it was made."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int


def address(host: str, version: Literal[4, 6] = 4, last: int = 2) -> str:
    """Return a host's address; the `last` number tells a client's many apart, and 1 is the router on that wire."""
    n = {"client": 1, "lb": 2}.get(host) or 10 + int(host.removeprefix("b"))
    return f"10.0.{n}.{last}" if version == 4 else f"fd00:{n}::{last}"
