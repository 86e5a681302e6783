"""Run the self-test of `run --confirm`: frames through the loaded program, and the next hops asked anew.

What is tested and judged: `selftest`. Frames go through BPF_PROG_TEST_RUN, so nothing is sent; but the program counts
them as it counts all others.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from xdplb.dataplane import loader, syscall
from xdplb.desired import DesiredService
from xdplb.forwarding import Forwarding
from xdplb.guard import Lists
from xdplb.health.probe import Target, probe
from xdplb.logs import log_event
from xdplb.model import Address, Check
from xdplb.net import Network, own_addresses
from xdplb.selftest import CLIENTS, Case, forwarded, passed

log = logging.getLogger("xdplb")

ANSWER_S = 4.0  # a neighbour is asked three times, once in a second (RFC 4861, 10; arp(7), ucast_solicit)
PROBES = 16  # backends that are probed at the most: one that answers is enough


class Proof:
    """The self-test of one daemon, and what was wrong at its last run."""

    def __init__(self, network: Network, forwarding: Forwarding) -> None:
        self._network, self._forwarding = network, forwarding
        self._answered: set[tuple[int, Address]] = set()
        self.failures: list[str] = []

    def note(self) -> None:
        """Note which next hops answer, before something is attached."""
        self._answered = self._network.answering()

    async def run(
        self, services: Sequence[DesiredService], lists: Lists, checks: Iterable[tuple[Check, Address]]
    ) -> bool:
        """Run it once; tell whether it passed. News of what failed are logged."""
        failures = [*self._run_frames(services, lists, await own_addresses()), *await self._reach(checks)]
        for text in failures:
            if text not in self.failures:
                log_event(log, logging.WARNING, "selftest_failed", f"self-test: {text}", failure=text)
        self.failures = failures
        return not failures

    def _run_frames(self, services: Sequence[DesiredService], lists: Lists, own: list[Address]) -> Iterator[str]:
        """Yield what became of frames in another way than it should, of all interfaces and the program on them."""
        fd = syscall.get(self._forwarding.kernel.pinned.program)
        try:
            loaded = syscall.program(fd).id
            for name, index in self._forwarding.present().items():
                attached = loader.attached(self._forwarding.place, index)
                if attached is None or attached.program_id != loaded:
                    yield f"{name}: the program is not attached"
            mac = next((nic.mac for nic in self._network.nics if len(nic.mac) == 6), bytes(6))
            cases = [*forwarded(services, mac, lambda version: _find_client(lists, version)), *passed(own, mac)]
            yield from (wrong for case in cases if (wrong := _try(fd, case)))
        finally:
            os.close(fd)

    async def _reach(self, checks: Iterable[tuple[Check, Address]]) -> list[str]:
        """Return who does not answer any more, unless some backend can be reached: then the host has its network."""
        silent = self._answered - await self._network.ask(self._answered, ANSWER_S)
        if self._answered and not silent:
            return []
        probes = [probe(check, Target(address, check.port)) for check, address in [*checks][:PROBES]]
        if any(ended.passed for ended in await asyncio.gather(*probes)):
            return []
        if not self._answered:
            return ["no next hop answered before, and no backend does now: whether this host is reachable is unknown"]
        return [f"neighbour {address} answered before and does not any more" for _, address in sorted(silent, key=str)]


def _try(fd: int, case: Case) -> str | None:
    return case.judge(syscall.test_run(fd, case.frame)[0])


def _find_client(lists: Lists, version: int) -> Address | None:
    """Return an address that the guard lets through."""
    for client in map(ip_address, CLIENTS):
        found = lists.longest(client)
        if client.version == version and (found is None or found[1] == "allow"):
            return client
    return None
