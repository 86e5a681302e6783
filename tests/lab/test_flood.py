"""200 connections that transfer, while SYNs from random addresses come by the same wire.

    client ──┐
             ├─ router ══ lb ⟲ ── b1, b2       80: with a limit for the service's new connections;  81: without
    flood ───┘

Everything runs on the cores of one machine: client and servers, the balancer's program, the flood, and without a
limit also the backends' SYN cookies. So the transfers are paced below what the machine carries: what is measured is
what the flood takes away, and not how a scheduler divides cores that are too few. (Without a pace, two busy cores
carry 1.2 Gbit/s, and 0.55 to 0.76 of it under a flood.) A flood's share of a core includes what the balancer's
program does with its frames, since the same core does that.
"""

from __future__ import annotations

import contextlib
import json
import operator
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.rig.traffic import PATIENCE_S, backend, holding, ip, packets, service, start, verdicts
from tools.lab import web
from tools.lab.net import VIP4, Lab
from tools.lab.stand import ROOT, Stand, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.alone]

CONNECTIONS = 200
PACE = 80_000_000  # bytes a second, of all connections
TURN_S = 0.005
CHUNK = 16_384
WINDOW_S = 0.8
SHARE = 0.5  # of one core
CONFIG = (
    '[balancer]\ninterface = "eth0"\n'
    + service("limited", 80, backend("b1"), backend("b2"), limits={"service_connections_per_s": 1000})
    + service("open", 81, backend("b1"), backend("b2"))
)


class Uploads:
    """Connections that send without end, at a pace."""

    def __init__(self, lab: Lab, port: int) -> None:
        with lab.inside("client"):
            self.sockets = [socket.create_connection((VIP4, port), PATIENCE_S) for _ in range(CONNECTIONS)]
        for one in self.sockets:
            one.sendall(b"PUT / HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n")
            one.setblocking(False)
        self.failures: list[OSError] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        body, turn, due = bytes(CHUNK), 0, time.monotonic()
        while not self._ended.is_set():
            for _ in range(int(PACE * TURN_S / CHUNK)):
                turn += 1
                try:
                    self.sockets[turn % CONNECTIONS].send(body)
                except BlockingIOError:
                    pass
                except OSError as error:
                    self.failures.append(error)
            due = max(due + TURN_S, time.monotonic() - 10 * TURN_S)
            time.sleep(max(due - time.monotonic(), 0))

    def acknowledged(self) -> list[int]:
        """Return how many bytes of each connection the servers have acknowledged (tcpi_bytes_acked, linux/tcp.h)."""
        states = (one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128) for one in self.sockets)
        return [int.from_bytes(state[120:128], "little") for state in states]

    def __enter__(self) -> Uploads:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for one in self.sockets:
            one.close()

    def goodput(self) -> float:
        """Return the bytes a second that were acknowledged in a window from now on."""
        began, before = time.monotonic(), sum(self.acknowledged())
        time.sleep(WINDOW_S)  # what is measured, not waited for
        return (sum(self.acknowledged()) - before) / (time.monotonic() - began)


@pytest.fixture(scope="module")
def flooded(stand_session: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The daemon with both services; the flood's answers go nowhere, as in the Internet."""
    lab = stand_session.lab
    servers = web.start(lab, ["b1", "b2"], [81])
    start(stand_session, tmp_path_factory.mktemp("flood") / "xdplb.toml", CONFIG)
    with holding(lab, "router", "route add blackhole 11.0.0.0/8", "route del blackhole 11.0.0.0/8"):
        yield stand_session
    stand_session.kill_daemon()
    stand_session.forget_balancer()
    for server in servers.values():
        server.terminate()
        server.wait(5)


@contextlib.contextmanager
def flood(lab: Lab, port: int) -> Iterator[dict[str, float]]:
    """Flood the VIP for the block; afterwards the result says how it was."""
    found = re.search(r"ether (\S+)", ip(lab, "lb", "link show eth0"))
    assert found
    argv = [sys.executable, "-m", "tools.lab.flood", "lb", found[1], VIP4, f"--port={port}", f"--share={SHARE}"]
    child = lab.spawn("router", argv, cwd=ROOT, stdout=subprocess.PIPE)
    result: dict[str, float] = {}
    assert child.stdout
    assert child.stdout.readline() == "ready\n"
    try:
        yield result
    finally:
        child.terminate()
        result.update(json.loads(child.communicate(timeout=PATIENCE_S)[0]))


@pytest.mark.parametrize(("port", "name", "rounds"), [(80, "limited", 3), (81, "open", 1)])
def test_transfers_go_on_in_a_flood_of_syns(
    flooded: Stand, port: int, name: str, rounds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, frames, busy_s, seconds = [], 0.0, 0.0, 0.0
    refused, forwarded = verdicts(flooded)["dropped_service_rate"], packets(flooded)[name]
    with Uploads(flooded.lab, port) as uploads:
        wait_for(lambda: min(uploads.acknowledged()) > CHUNK, "transfers")
        for _ in range(rounds):
            calm = uploads.goodput()
            with flood(flooded.lab, port) as result:
                stormy = uploads.goodput()
            kept.append(stormy / calm)
            frames, busy_s, seconds = frames + result["frames"], busy_s + result["busy_s"], seconds + result["seconds"]
        end = uploads.acknowledged()
        wait_for(lambda: all(map(operator.lt, end, uploads.acknowledged())), "every connection to go on")
        failures = uploads.failures
    refused, forwarded = verdicts(flooded)["dropped_service_rate"] - refused, packets(flooded)[name] - forwarded

    with capsys.disabled():
        print(
            f"\n{name}: goodput under a flood of {frames / seconds:,.0f} SYN/s, {busy_s / seconds:.2f} of a core: "
            f"{', '.join(f'{one:.2f}' for one in kept)} of {calm * 8 / 1e9:.2f} Gbit/s; "
            f"{refused:,} refused, {forwarded:,} packets forwarded"
        )
    assert failures == []
    if name == "limited":
        assert refused > 0.9 * frames
        assert statistics.median(kept) >= 0.8
    else:
        assert forwarded > frames  # all of them, and the transfers
