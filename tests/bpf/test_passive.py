"""What becomes of SYNs, flow by flow: what is counted for whom, and for how long a name stays."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.sctp import SCTP, SCTPChunkInit

from tests.rig.packets import BACKENDS4, CLIENT4, VIP4, VIP6, config, dns, frame, service, tcp
from tests.rig.xdp import Xdp, desired
from xdplb import hashing
from xdplb.contract import CONSTANTS
from xdplb.dataplane import syscall
from xdplb.desired import DesiredService
from xdplb.model import Affinity, Protocol, Vip

PLACES, PATIENCE = CONSTANTS["ATTEMPTS"], CONSTANTS["ATTEMPT_MOMENTS"]


@pytest.fixture
def watched(full: Xdp) -> Xdp:
    """A service with one backend whose traffic is looked at."""
    full.serve(config(service(backends=BACKENDS4[:1], passive=True)))
    return full


def send(xdp: Xdp, *flags: str, port: int = 4000, vip: str = VIP4) -> dict[str, int]:
    """Send packets of a flow; return all that was counted since the beginning, over all backends."""
    for each in flags:
        xdp.run(tcp(port, vip, flags=each))
    return counted(xdp)


def counted(xdp: Xdp) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (_, name), count in xdp.progress().items():
        counts[name] += count
    return dict(counts)


def of_backend(xdp: Xdp, identity: int) -> dict[str, int]:
    return {name: count for (whose, name), count in xdp.progress().items() if whose == identity}


@pytest.mark.parametrize("vip", [VIP4, VIP6])
def test_a_connection_that_is_answered_makes_progress_once(watched: Xdp, vip: str) -> None:
    assert send(watched, "S", vip=vip) == {"started": 1}
    assert send(watched, "A", vip=vip) == {"started": 1, "progressed": 1}
    assert send(watched, "PA", "A", "FA", "A", vip=vip) == {"started": 1, "progressed": 1}
    assert watched.attempts() == {}


def test_a_connection_that_is_not_answered_repeats_its_syn_or_begins_anew(watched: Xdp) -> None:
    assert send(watched, "S", "S", "SEC") == {"started": 1, "repeated": 2}
    assert send(watched, "S", port=4001) == {"started": 2, "repeated": 2}
    assert len(watched.attempts()) == 2
    assert send(watched, "FA") == {"started": 2, "repeated": 2, "progressed": 1}  # answered, and over already


@pytest.mark.parametrize("flags", ["R", "RA", "SA", "F", "P", ""])
def test_what_is_no_acknowledgement_is_no_progress(watched: Xdp, flags: str) -> None:
    assert send(watched, "S", flags) == {"started": 1}
    assert len(watched.attempts()) == 1


def test_an_acknowledgement_of_nothing_counts_nothing(watched: Xdp) -> None:
    assert send(watched, "A", "PA", "FA") == {}
    send(watched, "S")
    assert send(watched, "A", port=4001) == {"started": 1}


def test_nothing_is_kept_where_nobody_asked_for_it(full: Xdp) -> None:
    full.serve(config(service(backends=BACKENDS4[:1])))

    assert send(full, "S", "S", "A") == {}
    assert full.attempts() == {}


def test_what_is_not_tcp_counts_nothing(full: Xdp) -> None:
    sctp = service(backends=BACKENDS4[:1], passive=True, vips=(Vip(ip_address(VIP4), 80, Protocol.SCTP),))
    full.serve(config(replace(sctp, name="sctp"), replace(dns(BACKENDS4[:1]), passive=True)))
    full.run(frame(SCTP(sport=4000, dport=80) / SCTPChunkInit(), VIP4))
    full.run(tcp(53, dport=53))

    assert sum(t.connections for t in full.kernel.traffic().values()) == 1
    assert counted(full) == {}


def test_an_error_about_a_flow_counts_nothing(watched: Xdp) -> None:
    send(watched, "S")
    quoted = IP(src=VIP4, dst=CLIENT4) / TCP(sport=80, dport=4000, flags="A")
    watched.run(frame(ICMP(type=3, code=1) / bytes(quoted), VIP4))

    assert sum(t.packets for t in watched.kernel.traffic().values()) == 2
    assert counted(watched) == {"started": 1}


def test_what_comes_long_after_a_syn_is_about_something_else(watched: Xdp) -> None:
    for age, progressed in ((PATIENCE, 1), (PATIENCE + 1, 0)):
        watched.forget()
        watched.kernel.moment = 65500  # and goes on from 0 in between
        send(watched, "S")
        watched.kernel.moment = (65500 + age) % 65536
        assert send(watched, "A").get("progressed", 0) == progressed
        assert watched.attempts() == {}


def test_a_syn_long_after_another_one_is_a_new_attempt(watched: Xdp) -> None:
    send(watched, "S")
    watched.kernel.moment = PATIENCE
    assert send(watched, "S") == {"started": 1, "repeated": 1}
    watched.kernel.moment = 2 * PATIENCE + 1
    assert send(watched, "S") == {"started": 2, "repeated": 1}


def neighbours(xdp: Xdp) -> tuple[int, int]:
    """Ports of two flows that share a place."""
    places: dict[int, int] = {}
    for port in range(1024, 65536):
        flow = hashing.hash_flow(ip_address(CLIENT4), port, Vip(ip_address(VIP4), 80), xdp.kernel.spec.hash_key)
        if (other := places.setdefault(flow % PLACES, port)) != port:
            return other, port
    raise AssertionError("no two flows share a place")


def test_a_name_keeps_its_place_for_a_moment_and_then_makes_room(watched: Xdp) -> None:
    one, other = neighbours(watched)
    send(watched, "S", port=one)

    assert send(watched, "S", "A", port=other) == {"started": 1}
    watched.kernel.moment = 1
    assert send(watched, "S", port=other) == {"started": 2}
    assert send(watched, "A", port=one) == {"started": 2}
    assert send(watched, "A", port=other) == {"started": 2, "progressed": 1}


def test_a_flood_of_syns_finds_the_table_full_and_writes_no_more(watched: Xdp) -> None:
    template, run, draw = bytes(tcp()), syscall.TestRun(watched.fd), Random(1)

    for _ in range(50_000):
        run.run(template[:26] + draw.randbytes(4) + template[30:34] + draw.randbytes(2) + template[36:])

    assert counted(watched) == {"started": PLACES}
    assert len(watched.attempts()) == PLACES


def world(first: int, last: int, draining: str = "") -> tuple[DesiredService, ...]:
    """Some of the backends."""
    services: tuple[DesiredService, ...] = desired(
        config(service(backends=BACKENDS4[first:last], passive=True)), draining={("web", draining)}
    )
    return services


def test_progress_is_the_backends_that_the_syn_went_to(full: Xdp) -> None:
    both = world(0, 2, draining=BACKENDS4[0].name)
    old, new = (backend.identity for backend in both[0].backends)
    full.apply(world(0, 1))
    send(full, "S", port=4000)
    send(full, "S", port=4001)
    full.apply(both)  # from here on, SYNs go to the other one

    send(full, "A", port=4000)  # which is where it was
    send(full, "S", "A", port=4001)

    assert of_backend(full, old) == {"started": 2, "progressed": 1}
    assert of_backend(full, new) == {"started": 1, "progressed": 1}


def test_an_acknowledgement_that_goes_elsewhere_is_nobodys_progress(full: Xdp) -> None:
    full.apply(world(0, 1))
    send(full, "S")
    full.apply(world(1, 2))

    assert send(full, "A") == {}
    assert full.attempts() == {}


def test_a_fresh_backend_begins_at_0(watched: Xdp) -> None:
    send(watched, "S", "A")

    watched.apply(())
    watched.apply(desired(config(service(backends=BACKENDS4[:1], passive=True))))

    assert counted(watched) == {}


def test_with_affinity_every_flow_of_a_client_has_a_name_of_its_own(full: Xdp) -> None:
    full.serve(config(service(backends=BACKENDS4, passive=True, affinity=Affinity.CLIENT)))

    for port in range(4000, 4020):
        send(full, "S", port=port)
    for port in range(4000, 4010):
        send(full, "A", port=port)

    assert counted(full) == {"started": 20, "progressed": 10}
    assert len(full.attempts()) == 10
