"""What leaves for a probe's socket is what the balancer would send to that backend: both run on the same packet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from tests.rig.packets import (
    BACKENDS4,
    BACKENDS6,
    LB_MAC,
    ROUTER_MAC,
    VIP4,
    VIP6,
    config,
    dns,
    frame,
    service,
    tcp,
    udp,
)
from tests.rig.probing import Prober, Verdict
from tests.rig.writing import checksum
from tests.rig.xdp import SPEC, Action, Xdp
from xdplb.contract import CONSTANTS
from xdplb.dataplane import loader, syscall
from xdplb.dataplane.plane import Spec
from xdplb.model import Forward, Service
from xdplb.reconcile import needed
from xdplb.tables import BackendRow, PutBackend, Way

pytestmark = pytest.mark.root

PLAIN = replace(SPEC, gue4=True, gue6=True, l2=True, vlan=True, any=True)
SPREAD = replace(PLAIN, source4_bits=8, source6_bits=16, outer_df=False)
NETWORKS = {4: ip_address("10.0.2.0"), 6: ip_address("fd00:2::")}
LINK = Ether(src=LB_MAC, dst=ROUTER_MAC)
ADDRESSES = bytes(LINK)[:12]
VIPS = pytest.mark.parametrize("vip", [VIP4, VIP6])
WAYS = pytest.mark.parametrize("way", ["ipip4", "ipip6", "gue4", "gue6", "l2"])


class Pair:
    """Both programs."""

    def __init__(self, spec: Spec, name: str) -> None:
        self.spec, self.xdp, self.place = spec, Xdp(spec, f"{name}-xdp"), loader.Place(name)
        self.place.make()
        self.prober = Prober(self.place, spec)

    def serve(self, way: str, **fields: Any) -> BackendRow:
        """Have one backend by this way, whose row has these fields, in both programs."""
        self.xdp.serve(config(*(replace(s, forward=forward_of(way)) for s in services(way))))
        rows = {number: replace(row, **fields) for number, row in self.xdp.kernel.tables().backends.items()}
        if self.spec is SPREAD:  # its last bits are the hash's
            rows = {number: replace(row, source=NETWORKS[row.source.version]) for number, row in rows.items()}
        self.xdp.kernel.apply([PutBackend(number, row, fresh=True) for number, row in rows.items()])
        row = next(iter(rows.values()))
        self.prober.begin(row)
        return row

    def both(self, sent: Any, row: BackendRow) -> tuple[Action, bytes, Verdict, bytes]:
        """Send a packet through each; returns what became of it, the frames without what entropy decides."""
        action, left = self.xdp.run_bytes(bytes(sent))
        verdict, right = self.prober.send(bytes(sent), row)
        if action is not Action.TX or verdict is Verdict.SHOT:
            return action, left, verdict, right
        return action, plain(left, row, self.spec), verdict, plain(right, row, self.spec)

    def close(self) -> None:
        self.prober.close()
        self.place.remove()
        self.xdp.close()


def forward_of(way: str) -> Forward:
    return Forward.L2 if way == "l2" else Forward(way[:-1])


def services(way: str) -> list[Service]:
    backends = (BACKENDS6 if way[-1] == "6" else BACKENDS4)[:1]
    return [service(backends=backends), dns(backends)]


def plain(sent: bytes, row: BackendRow, spec: Spec) -> bytes:
    """A frame with every bit 0 that a hash decides, and without its tag, after a look at the outer checksum."""
    frame = bytearray(sent)
    if frame[12:14] == b"\x81\x00":
        assert frame[14:16] == row.vlan.to_bytes(2, "big")
        del frame[12:16]
    if row.way is Way.L2:
        return bytes(frame)
    if row.way in (Way.IPIP4, Way.GUE4):
        assert checksum(bytes(frame[14:34])) == 0
        clear(frame, 26, 4, spec.source4_bits)
        frame[24:26] = bytes(2)
    else:
        clear(frame, 15, 3, 20)
        clear(frame, 22, 16, spec.source6_bits)
    if row.way in (Way.GUE4, Way.GUE6):
        clear(frame, 34 if row.way is Way.GUE4 else 54, 2, 14)
    return bytes(frame)


def clear(frame: bytearray, at: int, size: int, bits: int) -> None:
    number = int.from_bytes(frame[at : at + size], "big") >> bits << bits
    frame[at : at + size] = number.to_bytes(size, "big")


@pytest.fixture(scope="module", params=[PLAIN, SPREAD], ids=["plain", "spread"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(request.param, f"test-probe-{os.getpid()}-{request.param.source4_bits}")
    yield made
    made.close()


@pytest.fixture
def prober(pair: Pair) -> Prober:
    pair.prober.begin()
    return pair.prober


# --- what leaves --------------------------------------------------------------------------------------------

PACKETS: dict[str, Callable[[str], Any]] = {
    "SYN": lambda vip: tcp(vip=vip),
    "data": lambda vip: frame(TCP(sport=4000, dport=80, flags="PA") / Raw(bytes(range(200))), vip),
    "UDP": lambda vip: udp(vip=vip),
    "padded": lambda vip: Raw(bytes(tcp(vip=vip)).ljust(90, b"\0")),
    "options": lambda vip: (
        tcp(vip=vip, options=[IPOption_RR()])
        if vip == VIP4
        else frame(IPv6ExtHdrDestOpt() / TCP(sport=4000, dport=80), vip)
    ),
    "class": lambda vip: frame(TCP(dport=80), vip, **{"tc" if vip == VIP6 else "tos": 0xBA}),
    "hops": lambda vip: frame(TCP(dport=80), vip, **{"hlim" if vip == VIP6 else "ttl": 2}),
}


@WAYS
@VIPS
@pytest.mark.parametrize("packet", PACKETS)
def test_the_same_bytes_leave_as_for_a_client(pair: Pair, way: str, vip: str, packet: str) -> None:
    row = pair.serve(way)

    action, left, verdict, right = pair.both(PACKETS[packet](vip), row)

    assert (action, verdict) == (Action.TX, Verdict.REDIRECT)
    assert left == right
    assert pair.prober.counted() == {"sent": 1}


@WAYS
@VIPS
def test_every_length_of_a_frame_is_treated_alike(pair: Pair, way: str, vip: str) -> None:
    row, sent = pair.serve(way), bytes(PACKETS["data"](vip))
    shortest = 54 if vip == VIP6 else 34  # BPF_PROG_TEST_RUN wants a whole IP header
    for size in range(shortest, len(sent) + 1):
        action, left, verdict, right = pair.both(sent[:size], row)
        if action is Action.TX:
            assert (verdict, left) == (Verdict.REDIRECT, right)
        else:
            assert verdict is Verdict.SHOT
    assert pair.prober.counted() == {"sent": 1, "dropped_malformed": len(sent) - shortest}


@given(
    way=st.sampled_from(["ipip4", "ipip6", "gue4", "gue6", "l2"]),
    vip=st.sampled_from([VIP4, VIP6]),
    changes=st.lists(st.tuples(st.sampled_from([15, *range(18, 34)]), st.integers(0, 255)), max_size=3),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_balancer_forwards_leaves_and_what_it_cannot_trust_does_not(
    pair: Pair, way: str, vip: str, changes: Any
) -> None:
    """Neither version nor IPv4's length changes: the balancer believes some that contradict the rest, and we do not."""
    row, sent = pair.serve(way), bytearray(bytes(PACKETS["data"](vip)))
    for at, value in changes:
        sent[at] = value
    action, left, verdict, right = pair.both(bytes(sent), row)
    if action is Action.TX and "answered" not in str(pair.xdp.reasons()):
        assert (verdict, left) == (Verdict.REDIRECT, right)
    if "dropped_malformed" in pair.xdp.reasons():
        assert verdict is Verdict.SHOT


@WAYS
def test_the_tag_of_the_way_out_is_not_in_the_way(pair: Pair, way: str) -> None:
    """The kernel keeps it beside the packet until it is sent: see tests/lab/test_tunnel.py."""
    row = pair.serve(way, vlan=100)

    action, left, verdict, right = pair.both(tcp(), row)

    assert (action, verdict) == (Action.TX, Verdict.REDIRECT)
    assert left == right


def test_it_leaves_where_it_would_when_the_row_says_nothing_else(pair: Pair) -> None:
    assert pair.both(tcp(), pair.serve("ipip4", egress=0))[2] is Verdict.OK
    assert pair.both(tcp(), pair.serve("ipip4", egress=1))[2] is Verdict.OK  # BPF_PROG_TEST_RUN's interface


def test_flows_are_told_apart_and_packets_of_one_are_not() -> None:
    pair = Pair(SPREAD, f"test-probe-flows-{os.getpid()}")
    try:
        row = pair.serve("gue4")
        sources = {pair.prober.send(bytes(udp(port)), row)[1][26:36] for port in (2000, 2001, 2002, 2003, 2000, 2001)}
        assert len(sources) == 4
    finally:
        pair.close()


# --- what does not ------------------------------------------------------------------------------------------


@WAYS
@VIPS
def test_what_is_longer_than_the_way_is_dropped_and_counted(pair: Pair, way: str, vip: str) -> None:
    sent = PACKETS["data"](vip)
    size = len(sent) - 14

    assert pair.both(sent, pair.serve(way, mtu=size))[2] is Verdict.REDIRECT
    assert pair.both(sent, pair.serve(way, mtu=size - 1))[2] is Verdict.SHOT
    assert pair.prober.counted() == {"dropped_too_long": 1}


@pytest.mark.parametrize(
    "sent",
    [
        LINK / ARP(),
        LINK / Dot1Q(vlan=5) / IP() / TCP(),
        Raw(ADDRESSES + b"\x08\x00" + bytes(IPv6() / TCP())),
        Raw(ADDRESSES + b"\x86\xdd" + bytes(IP(id=0, frag=64) / TCP())),
        tcp(ttl=1),
        tcp(vip=VIP6, hlim=0),
        LINK / IP(ihl=4, len=40, dst=VIP4) / UDP() / Raw(bytes(40)),
        LINK / IP(ihl=15, len=40, dst=VIP4) / UDP() / Raw(bytes(40)),
    ],
)
def test_what_is_no_packet_of_a_probe_is_dropped(pair: Pair, sent: Any) -> None:
    row = pair.serve("ipip4")
    assert pair.prober.send(bytes(sent), row)[0] is Verdict.SHOT
    assert pair.prober.counted() == {"dropped_malformed": 1}


def test_a_mark_without_a_row_leads_nowhere_nor_does_one_whose_backend_is_gone(pair: Pair) -> None:
    row = pair.serve("ipip4")
    mark = pair.prober.probes.mark(row.identity)
    assert mark is not None

    assert pair.prober.run(bytes(tcp()), mark + 1)[0] is Verdict.SHOT
    pair.prober.probes.put({})
    assert pair.prober.run(bytes(tcp()), mark)[0] is Verdict.SHOT
    assert pair.prober.probes.mark(row.identity) is None
    assert pair.prober.counted() == {"dropped_no_row": 2}


# --- others' packets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [0, 1, 0xFFFFFFFF, "another balancer's", "the row's number alone"])
@pytest.mark.parametrize("sent", [tcp(), udp(vip=VIP6), LINK / ARP()])
def test_what_has_not_our_mark_is_left_to_others(pair: Pair, mark: Any, sent: Any) -> None:
    ours = pair.prober.probes.mark(pair.serve("ipip4").identity)
    assert ours is not None
    others = {
        "another balancer's": ours ^ 1 << CONSTANTS["PROBE_BALANCER_SHIFT"],
        "the row's number alone": ours & 0xFFFF,
    }

    assert pair.prober.run(bytes(sent), others.get(mark, mark)) == (Verdict.UNSPEC, bytes(sent))
    assert pair.prober.counted() == {}


def test_what_has_not_our_mark_costs_some_instructions_and_no_call(prober: Prober) -> None:
    """A program that writes by pointer has the kernel copy every packet's head first, before its first instruction."""
    code = syscall.program(prober.fd).instructions
    operations = [code[at] for at in range(0, len(code), 8)]
    first_branch = next(n for n, operation in enumerate(operations) if operation & 7 == 5 and operation != 0x05)
    assert operations[first_branch] != 0x85  # BPF_JMP | BPF_CALL
    assert first_branch < 16


def test_there_is_room_for_every_backend_that_a_balancer_can_have() -> None:
    assert CONSTANTS["PROBES"] >= 1 << 16 >= needed(()).backends
