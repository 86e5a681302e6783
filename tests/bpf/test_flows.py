"""Flows of slots that are not settled: who is remembered, who is forgotten, and that nobody looks otherwise.

What becomes of single packets, fuzzing and `test_consistency.py` compare; here are the promises that many packets keep.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether

from tests.rig.packets import BACKENDS4, CLIENT4, ROUTER_MAC, VIP4, config, dns, frame, service, tcp, udp
from tests.rig.xdp import Action, Xdp, desired
from xdplb.dataplane import syscall
from xdplb.desired import DesiredService
from xdplb.model import Affinity
from xdplb.reconcile import reconcile
from xdplb.slots import Ended
from xdplb.tables import MOVED, MOVING, slot_parts

OLD, NEW = (str(b.address) for b in BACKENDS4[:2])
SYN, ACK = bytes(tcp(flags="S")), bytes(tcp(flags="A"))


def worlds(**fields: Any) -> tuple[tuple[DesiredService, ...], tuple[DesiredService, ...]]:
    """One backend, then two."""
    one, two = (desired(config(replace(service(backends=BACKENDS4[:n], **fields)))) for n in (1, 2))
    return one, two


def change(xdp: Xdp, worlds: tuple[tuple[DesiredService, ...], tuple[DesiredService, ...]]) -> None:
    xdp.apply(())
    xdp.forget()
    for world in worlds:
        xdp.apply(world)


def end_windows(xdp: Xdp, services: tuple[DesiredService, ...]) -> None:
    """The learn window of every slot is over."""
    slots, spec = range(len(xdp.kernel.tables().slots)), xdp.kernel.spec
    ended = {service.identity: Ended(windows=slots) for service in services}
    xdp.kernel.apply(reconcile(services, xdp.kernel.tables(), spec.capacity, spec.seed, ended))


def sender(xdp: Xdp) -> syscall.TestRun:
    return syscall.TestRun(xdp.fd)


def of_flow(template: bytes, source: int, port: int) -> bytes:
    """The packet with another source address and port."""
    return template[:26] + source.to_bytes(4, "big") + template[30:34] + port.to_bytes(2, "big") + template[36:]


def to(run: syscall.TestRun, template: bytes, source: int, port: int) -> str:
    """Send a packet with this source address and port; return the backend that it went to."""
    action, left = run.run(of_flow(template, source, port))
    return str(ip_address(left[30:34])) if action in (Action.TX, Action.REDIRECT) else Action(action).name


def states(xdp: Xdp) -> Counter[int]:
    return Counter(slot_parts(word)[2] for word in xdp.kernel.tables().slots if word)


def test_in_the_steady_state_nobody_looks_and_nothing_is_kept_of_a_million_packets(xdp: Xdp) -> None:
    xdp.serve(config(service(backends=BACKENDS4)))
    run, draw, source = sender(xdp), Random(1), int(ip_address("203.0.113.0"))
    before = [to(run, ACK, source, port) for port in range(1000, 1200)]
    poison = 0xFFFFFFFF_FFFF0000 | 2  # whoever looked would find every flow there, at the second backend
    xdp.kernel.flows.cast("B")[:] = poison.to_bytes(8, "little") * len(xdp.kernel.flows)

    for number in range(1_000_000):
        run.run(of_flow(SYN if number % 3 else ACK, draw.getrandbits(32), draw.getrandbits(16)))

    assert [to(run, ACK, source, port) for port in range(1000, 1200)] == before
    assert set(xdp.kernel.flows.tolist()) == {poison}
    assert sum(t.packets for t in xdp.kernel.traffic().values()) == 1_000_400


def test_a_flood_of_syns_breaks_no_learned_flow_and_needs_no_more_room(xdp: Xdp) -> None:
    both = worlds()
    change(xdp, both)
    run, draw, source = sender(xdp), Random(2), int(ip_address("203.0.113.7"))
    learned = {port: to(run, ACK, source, port) for port in range(1024, 11_024)}
    assert set(learned.values()) == {OLD}
    size = len(xdp.kernel.flows)

    for _ in range(400_000):  # three times as many as there are places for newborns
        run.run(of_flow(SYN, draw.getrandbits(32), draw.getrandbits(16)))

    assert len(xdp.kernel.flows) == size
    end_windows(xdp, both[1])
    assert {port: to(run, ACK, source, port) for port in learned} == learned


def test_a_flood_of_strays_pushes_out_nobody_who_is_newborn(xdp: Xdp) -> None:
    change(xdp, worlds())
    run, draw, source = sender(xdp), Random(3), int(ip_address("203.0.113.7"))
    born = {port: to(run, SYN, source, port) for port in range(1024, 1524)}
    assert set(born.values()) == {OLD, NEW}
    for _ in range(300_000):
        run.run(of_flow(ACK, draw.getrandbits(32), draw.getrandbits(16)))
    assert {port: to(run, ACK, source, port) for port in born} == born


def test_a_moved_slot_keeps_who_was_learned_and_takes_everybody_else(xdp: Xdp) -> None:
    both = worlds()
    change(xdp, both)
    run, source = sender(xdp), int(ip_address("203.0.113.7"))
    for port in range(2000, 2300):
        assert to(run, ACK, source, port) == OLD
    assert states(xdp)[MOVING]

    end_windows(xdp, both[1])

    assert states(xdp)[MOVED]
    assert not states(xdp)[MOVING]
    assert {to(run, ACK, source, port) for port in range(2000, 2300)} == {OLD}
    kept = len(xdp.flows())
    assert {to(run, ACK, source, port) for port in range(3000, 3300)} == {OLD, NEW}
    assert len(xdp.flows()) == kept  # nobody is learned any more
    opened = {port: to(run, SYN, source, port) for port in range(2000, 2300)}
    assert set(opened.values()) == {OLD, NEW}
    assert {port: to(run, ACK, source, port) for port in opened} == opened  # what was remembered is forgotten


def test_the_last_backend_drains_without_losing_its_connections(xdp: Xdp) -> None:
    one = desired(config(service(backends=BACKENDS4[:1])))
    none = desired(config(service(backends=BACKENDS4[:1])), draining={("web", BACKENDS4[0].name)})
    change(xdp, (one, none))
    run, source = sender(xdp), int(ip_address("203.0.113.7"))
    assert {to(run, ACK, source, port) for port in range(2000, 2100)} == {OLD}
    assert {to(run, SYN, source, port) for port in range(3000, 3100)} == {"DROP"}
    end_windows(xdp, none)
    assert {to(run, ACK, source, port) for port in range(2000, 2100)} == {OLD}
    assert {to(run, ACK, source, port) for port in range(4000, 4100)} == {"DROP"}
    assert xdp.reasons() == {"dropped_no_backend": 200}
    xdp.apply(desired(config(service(backends=BACKENDS4[:2])), draining={("web", BACKENDS4[0].name)}))
    assert {to(run, ACK, source, port) for port in range(2000, 2100)} == {OLD}
    assert {to(run, SYN, source, port) for port in range(5000, 5100)} == {NEW}


def test_with_affinity_a_clients_older_connections_stay_when_it_opens_new_ones(full: Xdp) -> None:
    change(full, worlds(affinity=Affinity.CLIENT))
    run, first = sender(full), int(ip_address("203.0.113.0"))
    older = {client: to(run, ACK, client, 2000) for client in range(first, first + 100)}
    assert set(older.values()) == {OLD}
    newer = {client: to(run, SYN, client, 2001) for client in older}
    assert set(newer.values()) == {OLD, NEW}
    assert {client: to(run, ACK, client, 2000) for client in older} == older
    assert {client: to(run, ACK, client, 2001) for client in newer} == newer


def test_what_icmp_says_is_followed_and_not_remembered(xdp: Xdp) -> None:
    change(xdp, worlds())

    def unreachable(port: int) -> bytes:
        quoted = IP(src=VIP4, dst=CLIENT4) / TCP(sport=80, dport=port)
        return bytes(frame(ICMP(type=3, code=1) / quoted, VIP4, src="198.51.100.99"))

    for port in range(2000, 2100):
        action, left = xdp.run(Ether(unreachable(port)))
        assert (action, left[IP].dst) == (Action.TX, OLD)
    assert xdp.flows() == []
    xdp.run(tcp(2000, flags="A"))
    assert len(xdp.flows()) in (0, 1)  # 0: its slot did not change


def test_udp_flows_stay_where_they_were_also_new_ones_until_the_window_ends(xdp: Xdp) -> None:
    both = tuple(desired(config(dns(BACKENDS4[:n]))) for n in (1, 2))
    change(xdp, (both[0], both[1]))
    assert {xdp.run(udp(port))[1][IP].dst for port in range(2000, 2100)} == {OLD}
    end_windows(xdp, both[1])
    assert {xdp.run(udp(port))[1][IP].dst for port in range(2000, 2100)} == {OLD}
    assert {xdp.run(udp(port))[1][IP].dst for port in range(3000, 3100)} == {OLD, NEW}
    assert xdp.run(udp(2000))[1][UDP].sport == 2000


@pytest.mark.parametrize("flags", ["A", "FA", "R"])
def test_an_established_flow_of_a_changed_slot_takes_the_other_backend_along(full: Xdp, flags: str) -> None:
    change(full, worlds(second_chance=True))
    ports = range(2000, 2100)
    moving = 0
    for port in ports:
        sent = tcp(port, flags=flags)
        action, left = full.run(sent)
        assert action in (Action.TX, Action.REDIRECT)
        assert (left[IP].dst, left[Ether].dst) == (OLD, "02:00:00:00:00:03")
        inside = left[IP].payload
        if inside.dst == NEW:  # a header of its own in between, ready to be sent on
            moving += 1
            assert (inside.src, inside.proto, inside.ttl, left[IP].proto) == ("10.0.2.2", 4, 63, 4)
            assert left[IP].len == len(bytes(sent[IP])) + 40
            inside = inside.payload
        assert (inside.src, inside.dst, inside.ttl) == (CLIENT4, VIP4, sent[IP].ttl - 1)
        assert bytes(inside[TCP]) == bytes(sent[TCP])
        assert sent.src == ROUTER_MAC
    assert 20 < moving < 80


def test_new_connections_and_settled_slots_take_nobody_along(full: Xdp) -> None:
    both = worlds(second_chance=True)
    change(full, both)
    for port in range(2000, 2050):
        assert full.run(tcp(port))[1][IP].payload.dst == VIP4
    full.apply(both[0])
    full.apply(())
    full.forget()
    full.apply(both[1])
    for port in range(2000, 2050):
        assert full.run(tcp(port, flags="A"))[1][IP].payload.dst == VIP4
