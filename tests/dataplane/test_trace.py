"""What is noted of packets, for whom, and until when."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from tests.rig.packets import BACKENDS4, CLIENT4, CLIENT6, VIP4, VIP6, config, dns, frame, service, tcp, udp
from tests.rig.xdp import Action, Xdp, desired
from xdplb.contract import CONSTANTS
from xdplb.dataplane import syscall
from xdplb.dataplane.kernel import Kernel
from xdplb.dataplane.trace import HEAD, TraceMaps, monotonic_ns
from xdplb.traced import CHOSEN, STATES, Filter, Names, Record, names_of

FOR_EVER = 1 << 62
FORWARDED = CONSTANTS["TRACE_FORWARDED"]


@pytest.fixture
def maps(traced: Xdp) -> Iterator[TraceMaps]:
    """Nobody traces yet."""
    maps = TraceMaps(traced.kernel)
    maps.read(maps.ring.most)
    yield maps
    for number in range(CONSTANTS["TRACERS"]):
        maps.clear_filter(number)
    maps.close()


def names(xdp: Xdp, services: object = ()) -> Names:
    return names_of(services, {}, list(xdp.kernel.verdicts()))  # type: ignore[arg-type]


def seen(xdp: Xdp, maps: TraceMaps, asked: Filter, *sent: object) -> list[bytes]:
    """Send packets; return those that a tracer sees."""
    maps.put_filter(0, asked, FOR_EVER)
    for packet in sent:
        xdp.run_bytes(bytes(packet))  # type: ignore[call-overload]
    return [record.arrived for record in maps.read(100)]


def test_a_forwarded_packet_is_noted_as_it_comes_and_as_it_goes(traced: Xdp, maps: TraceMaps) -> None:
    services = traced.serve(config())
    sent, before = bytes(tcp(vip=VIP4)), monotonic_ns()
    maps.put_filter(2, Filter(), FOR_EVER)

    action, left = traced.run_bytes(sent)
    (record,) = maps.read(10)

    told = names(traced, services)
    assert (record.arrived, record.leaving, record.length, record.length_out) == (sent, left, len(sent), len(left))
    assert (record.action, told.reason(record.reason), record.tracers, record.ingress) == (action, None, 1 << 2, 1)
    assert before < record.time < monotonic_ns()
    (row,) = {row.ring_offset for row in traced.kernel.tables().services.values() if row.ring_size}
    index = traced.kernel.tables().slots[row + record.slot]
    assert told.services[record.service] == "web"
    assert traced.kernel.tables().backends[index].identity == record.backend
    assert told.backends[record.backend][1] == IP(left[14:]).dst
    assert (record.slot_state, record.chosen) == (0, CONSTANTS["CHOSEN_BY_RING"])


@pytest.mark.parametrize(
    ("sent", "reason", "steered"),
    [
        (tcp(dport=81), "passed_no_service", False),
        (tcp(ttl=1), "answered_ttl", True),  # the second program's
        (Ether(type=0x0806) / bytes(40), "passed_not_ip", False),
        (udp(dport=53), "dropped_no_backend", False),
    ],
)
def test_what_is_not_forwarded_is_noted_with_its_reason(
    traced: Xdp, maps: TraceMaps, sent: object, reason: str, steered: bool
) -> None:
    traced.serve(config(service(), dns([])))
    maps.put_filter(0, Filter(), FOR_EVER)

    action, left = traced.run_bytes(bytes(sent))  # type: ignore[call-overload]
    (record,) = maps.read(10)

    assert (record.action, names(traced).reason(record.reason)) == (action, reason)
    assert (record.backend != 0) == steered
    assert record.leaving == (left if action is Action.TX else b"")


def test_of_a_long_frame_the_head_is_kept_and_its_length(traced: Xdp, maps: TraceMaps) -> None:
    traced.serve(config())
    sent = bytes(frame(TCP(dport=80) / bytes(n % 251 for n in range(1000)), VIP4))
    maps.put_filter(0, Filter(), FOR_EVER)

    _, left = traced.run_bytes(sent)
    (record,) = maps.read(10)

    assert (record.arrived, record.length) == (sent[:HEAD], len(sent))
    assert (record.leaving, record.length_out) == (left[:HEAD], len(left))


def test_a_tracer_sees_what_it_asks_for(traced: Xdp, maps: TraceMaps) -> None:
    services = traced.serve(config(service(), dns()))
    web, other = tcp(src="198.51.100.7"), tcp(src="203.0.113.9")
    six, query, host = tcp(vip=VIP6), udp(), tcp(dport=81)
    sent = web, other, six, query, host
    reasons = list(traced.kernel.verdicts())
    no_service = CONSTANTS["TRACE_REASONS"] + reasons.index("passed_no_service")
    by_name = {s.name: s for s in services}

    def check(asked: Filter, *expected: object) -> None:
        assert seen(traced, maps, asked, *sent) == [bytes(packet) for packet in expected]  # type: ignore[call-overload]

    check(Filter(), *sent)
    check(Filter(source=ip_network("198.51.100.0/24")), web, query, host)
    check(Filter(source=ip_network(f"{CLIENT4}/32"), port=80), web)
    check(Filter(source=ip_network("0.0.0.0/0"), port=80), web, other)
    check(Filter(source=ip_network(f"{CLIENT6}/64", strict=False)), six)
    check(Filter(destination=ip_network(f"{VIP6}/128")), six)
    check(Filter(destination=ip_network(f"{VIP4}/32"), port=53), query)
    check(Filter(service=by_name["dns"].identity), query)
    check(Filter(reason=FORWARDED), web, other, six, query)
    check(Filter(reason=no_service), host)
    backends = [b.identity for b in by_name["dns"].backends]
    assert sum(len(seen(traced, maps, Filter(backend=b), *sent)) for b in backends) == 1


def test_each_tracer_has_its_own_filter(traced: Xdp, maps: TraceMaps) -> None:
    traced.serve(config())
    maps.put_filter(0, Filter(port=80), FOR_EVER)
    maps.put_filter(3, Filter(destination=ip_network(f"{VIP4}/32")), FOR_EVER)

    for packet in (tcp(), tcp(vip=VIP6), tcp(dport=81)):
        traced.run(packet)

    assert [record.tracers for record in maps.read(10)] == [0b1001, 0b0001, 0b1000]


def test_nothing_is_noted_after_its_time(traced: Xdp, maps: TraceMaps) -> None:
    traced.serve(config())
    maps.put_filter(0, Filter(), monotonic_ns() - 1)
    traced.run(tcp())
    assert maps.read(10) == []


def test_one_of_so_many_is_sampled(traced: Xdp, maps: TraceMaps) -> None:
    """Of 2000, 200 ± 13: beyond 6 of those once in five hundred million times."""
    traced.serve(config())
    maps.put_filter(0, Filter(sample=10), FOR_EVER)
    run, sent = syscall.TestRun(traced.fd), bytes(tcp())
    for _ in range(2000):
        run.run(sent)
    assert 120 < len(maps.read(2000)) < 280


def test_why_a_backend_was_chosen_is_told(traced: Xdp, maps: TraceMaps) -> None:
    one, two = (config(service(backends=BACKENDS4[:n], ring_size=64)) for n in (1, 2))
    traced.serve(one)
    services = traced.apply(desired(two)) and desired(two)
    maps.put_filter(0, Filter(), FOR_EVER)

    def send(port: int, flags: str) -> Record:
        traced.run(tcp(port, flags=flags))
        return maps.read(10)[0]

    port = next(port for port in range(1000, 1100) if send(port, "A").slot_state)
    told = names(traced, services)
    again, new = send(port, "A"), send(port, "S")

    def said(record: Record) -> tuple[str, str, str | None]:
        return STATES[record.slot_state], CHOSEN[record.chosen], told.backends[record.backend][0]

    traced.forget()
    assert said(send(port, "A")) == ("moving", "previous", "four11")
    assert said(again) == ("moving", "remembered", "four11")
    assert said(new) == ("moving", "ring", "four12")


def test_a_program_that_traces_is_adopted_with_its_maps(traced: Xdp) -> None:
    again = Kernel.load(traced.place, traced.kernel.spec)
    assert (again.pinned.adopted, again.pinned.own) == (True, traced.kernel.pinned.own)
    TraceMaps(again).close()
    again.close()


def maps_of(fd: int) -> set[int]:
    """The types of a program's maps: `struct bpf_prog_info`, nr_map_ids and map_ids."""
    ids, info = (ctypes.c_uint32 * 64)(), ctypes.create_string_buffer(232)
    ctypes.c_uint32.from_buffer(info, 52).value = 64
    ctypes.c_uint64.from_buffer(info, 56).value = ctypes.addressof(ids)
    syscall._bpf(syscall.OBJ_GET_INFO_BY_FD, syscall._Info(fd, 232, ctypes.addressof(info)))
    found = set()
    for number in ids[: ctypes.c_uint32.from_buffer(info, 52).value]:
        map_fd = syscall._bpf(14, syscall._Id(number))  # BPF_MAP_GET_FD_BY_ID
        found.add(syscall.map_shape(map_fd).type)
        os.close(map_fd)
    return found


def test_without_tracers_the_program_has_nothing_of_it(xdp: Xdp, traced: Xdp) -> None:
    """No ring buffer (27), no call for the time or a random number, no pin."""
    assert 27 in maps_of(traced.fd)
    assert 27 not in maps_of(xdp.fd)
    assert xdp.kernel.pinned.own == {}
    assert not list(xdp.kernel.pinned.folder.glob("own_*"))
    assert len(syscall.program(xdp.fd).instructions) < len(syscall.program(traced.fd).instructions)
