"""Evidence that comes to the balancer has the right backends probed, and costs little whoever sends it.

router (forges)  ──  lb 10.0.2.2 (listens)       b1 10.0.11.2 (a backend, without an agent)
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

import pytest

from tests.rig.packets import hop, service
from tools.lab.net import VIP4, VIP6, Lab, address
from xdplb.desired import Health, Key, Overrides, desire
from xdplb.evidence import Evidence
from xdplb.health.evidence import Sign, Unanswered, pack
from xdplb.model import EVIDENCE_PORT, Backend, Balancer, Config, Protocol, Vip

VIPS = tuple(Vip(ip_address(vip), 80) for vip in (VIP4, VIP6))
HERE = {4: Backend("four", ip_address(address("b1", 4))), 6: Backend("six", ip_address(address("b1", 6)))}
WEB = service(passive=True, backends=[HERE[4], HERE[6]], vips=VIPS)
REPORT = pack([Unanswered(ip_address(VIP4), 80, Sign.NO_SOCKET, 7)])[0]


@dataclass
class Cast:
    """The balancer's side, and what it came to."""

    lab: Lab
    evidence: Evidence
    suspected: list[tuple[Key, str]] = field(default_factory=list)

    def send(self, host: str, version: int, protocol: int, payload: bytes, to: str) -> None:
        """Have a host send a packet of this protocol."""
        kind = socket.AF_INET if version == 4 else socket.AF_INET6
        with self.lab.inside(host), socket.socket(kind, socket.SOCK_RAW, protocol) as opened:
            opened.sendto(payload, (to, 0))

    def report(self, host: str, datagram: bytes, version: int = 4) -> None:
        kind = socket.AF_INET if version == 4 else socket.AF_INET6
        with self.lab.inside(host), socket.socket(kind, socket.SOCK_DGRAM) as opened:
            opened.sendto(datagram, (address("lb", version), EVIDENCE_PORT))

    async def hear(self, count: int = 1) -> list[tuple[Key, str]]:
        """Wait for so many suspicions."""
        async with asyncio.timeout(5):
            while len(self.suspected) < count:
                await asyncio.sleep(0.001)
        return self.suspected


Scene = Callable[..., None]  # a dialogue with the cast, and a configuration if it is not the usual one


def configured(*services: Any, **balancer: Any) -> Config:
    return Config(Balancer(("eth0",), **balancer), services or (WEB,))


@pytest.fixture
def play(second_lab: Lab) -> Scene:
    """Run a test with everything listening on the lb."""

    def run(scene: Callable[[Cast], Awaitable[None]], config: Config | None = None) -> None:
        async def inside() -> None:
            of = config or configured()
            suspected: list[tuple[Key, str]] = []

            def suspect(key: Key, cause: str) -> bool:
                suspected.append((key, cause))
                return True

            cast = Cast(second_lab, Evidence(of, suspect, lambda: None), suspected)
            keys = [(s.name, b.name) for s in of.services for b in s.backends]
            hops = {b.address: hop(b.address.version) for s in of.services for b in s.backends}
            cast.evidence.start()
            cast.evidence.follow(desire(of, Overrides(), {key: Health(True, "") for key in keys}, hops))
            try:
                assert cast.evidence.warnings == []
                await scene(cast)
            finally:
                cast.evidence.close()

        with second_lab.inside("lb"):
            asyncio.run(inside())

    return run


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_of_a_backend_has_it_probed(play: Scene, version: int) -> None:
    async def scene(cast: Cast) -> None:
        for _ in range(2):  # kernels limit their errors, so the first one may be all
            cast.send("lb", version, 4, bytes(40), address("b1", version))
        ((key, cause),) = await cast.hear()
        assert key == ("web", HERE[version].name)
        assert cause.startswith(f"{address('b1', version)} says: p")
        assert "is the decap agent running on" in cause

    play(scene)


@pytest.mark.parametrize("version", [4, 6])
def test_a_report_of_a_backends_agent_has_it_probed(play: Scene, version: int) -> None:
    async def scene(cast: Cast) -> None:
        cast.report("b1", REPORT, version)
        assert await cast.hear() == [
            (("web", HERE[version].name), f"no socket listens on {VIP4}:80 there (its agent says)")
        ]

    play(scene)


def test_who_is_no_backend_reports_nothing(play: Scene) -> None:
    async def scene(cast: Cast) -> None:
        cast.report("router", REPORT)
        cast.report("client", REPORT)
        cast.report("b1", REPORT)
        assert [key for key, _ in await cast.hear()] == [("web", "four")]
        await asyncio.sleep(0)
        assert len(cast.suspected) == 1

    play(scene)


def test_a_report_counts_for_the_services_of_its_vip(play: Scene) -> None:
    other = service("other", passive=True, backends=[HERE[4]], vips=(Vip(ip_address(VIP4), 81),))
    dull = service("dull", backends=[HERE[4]], vips=(Vip(ip_address(VIP4), 82),))
    every = service("any", passive=True, backends=[HERE[4]], vips=(Vip(ip_address("10.9.9.8"), 0, Protocol.ANY),))
    ports = [Unanswered(ip_address(VIP4), port, Sign.NO_SOCKET, 1) for port in (82, 83, 81)]

    async def scene(cast: Cast) -> None:
        cast.report("b1", pack(ports)[0])
        assert [key for key, _ in await cast.hear()] == [("other", "four")]
        cast.report("b1", pack([Unanswered(None, 80, Sign.QUEUE_FULL, 1)])[0])
        assert [key for key, _ in await cast.hear(3)][1:] == [("web", "four"), ("any", "four")]

    play(scene, configured(WEB, other, dull, replace(every, checks=())))


def test_a_backend_is_suspected_once_a_second(play: Scene) -> None:
    async def scene(cast: Cast) -> None:
        began = time.monotonic()
        while len(cast.suspected) < 2:
            cast.report("b1", REPORT)
            await asyncio.sleep(0.01)
        assert time.monotonic() - began >= 0.99

    play(scene)


def test_where_no_service_is_passive_nothing_is_opened(second_lab: Lab) -> None:
    evidence = Evidence(configured(service(backends=[HERE[4]])), lambda *_: True, lambda: None)
    evidence.start()
    with second_lab.inside("lb"), socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("", EVIDENCE_PORT))
    evidence.close()


def test_a_port_that_is_taken_is_a_warning(second_lab: Lab) -> None:
    async def inside() -> None:
        evidence = Evidence(configured(), lambda *_: True, lambda: None)
        evidence.start()
        evidence.close()
        assert evidence.warnings == [
            "agents' reports are not heard: UDP port 6090: Address already in use; "
            "set another balancer.evidence_port, 0 for none"
        ]

    with second_lab.inside("lb"), socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("", EVIDENCE_PORT))
        asyncio.run(inside())


def test_port_0_is_no_port(second_lab: Lab) -> None:
    async def inside() -> None:
        evidence = Evidence(configured(evidence_port=0), lambda *_: True, lambda: None)
        evidence.start()
        with socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind(("", EVIDENCE_PORT))
        evidence.close()

    with second_lab.inside("lb"):
        asyncio.run(inside())


FLOOD = """
import socket, sys, time
kind, to, packet = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
protocols = {"report": (socket.SOCK_DGRAM, 0), "error": (socket.SOCK_RAW, socket.IPPROTO_ICMP)}
opened = socket.socket(socket.AF_INET, *protocols[kind])
print("ready", flush=True)
until, sent = time.monotonic() + 1.5, 0
while time.monotonic() < until:
    opened.sendto(packet, (to, 6090 if kind == "report" else 0))
    sent += 1
print(sent, flush=True)
"""


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["report", "error"])
def test_of_a_flood_little_is_read_and_less_believed(play: Scene, kind: str) -> None:
    from tests.health.test_icmp_errors import forged, outer

    many = [Unanswered(ip_address(VIP4), port, Sign.NO_SOCKET, 1) for port in range(74, 82)]  # as long as can be
    packet = pack(many)[0] if kind == "report" else forged(4, outer(4))

    async def scene(cast: Cast) -> None:
        host = "b1" if kind == "report" else "router"
        argv = [sys.executable, "-c", FLOOD, kind, address("lb"), packet.hex()]
        flood = cast.lab.spawn(host, argv, stdout=subprocess.PIPE)
        assert flood.stdout
        assert flood.stdout.readline() == "ready\n"
        began, cpu = time.monotonic(), time.thread_time()
        await asyncio.sleep(1.0)
        share = (time.thread_time() - cpu) / (time.monotonic() - began)  # some 2 %, for who reads the output
        sent = int(flood.communicate(timeout=10)[0])
        print(f"{kind}: {sent / 1.5:.0f} a second cost {share:.2%} of a core; suspicions: {len(cast.suspected)}")
        assert sent > 10_000
        assert 1 <= len(cast.suspected) <= 3

    play(scene)
