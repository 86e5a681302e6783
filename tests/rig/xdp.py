"""The loaded program without a network: one frame in, action and frame out (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import IntEnum
from typing import Any

from scapy.layers.l2 import Ether

from tests.rig.packets import hop
from xdplb.contract import CONSTANTS
from xdplb.dataplane import loader, syscall
from xdplb.dataplane.kernel import Kernel
from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredService, Health, Overrides, desire
from xdplb.errors import KernelError
from xdplb.model import Config
from xdplb.reconcile import reconcile
from xdplb.sweep import Clock
from xdplb.tables import Capacity

SPEC = Spec(
    vip4=True,
    vip6=True,
    ipip4=True,
    ipip6=True,
    capacity=Capacity(rows_bits=8, slots=8192, backends=256),
    seed=0x123456789ABCDEF0,
    hash_key=0x0FEDCBA987654321,
)


COUNTS = ("started", "progressed", "repeated")  # the words of `struct progress`
WORDS = {"clients": 8}  # of 8 bytes, in a line
REMEMBERED = {"fragments": (40, 8)}  # bytes of key and value
LOOPBACK = 1  # its ifindex; BPF_PROG_TEST_RUN's frames come in by it


class Action(IntEnum):
    """enum xdp_action."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


def desired(
    config: Config,
    overrides: Overrides | None = None,
    down: set[str] | None = None,
    draining: set[tuple[str, str]] | None = None,
) -> Any:
    """The desired state when everything is reachable and all backends but `down` are up."""
    hops = {b.address: hop(b.address.version) for s in config.services for b in s.backends}
    health = {(s.name, b.name): Health(b.name not in (down or set()), "") for s in config.services for b in s.backends}
    return desire(config, overrides or Overrides(draining=draining or set()), health, hops)


class Xdp:
    """A program with tables of its own, in pins of its own."""

    def __init__(self, spec: Spec = SPEC, name: str | None = None) -> None:
        self.place = loader.Place(name or f"test-packets-{os.getpid()}")
        self.place.make()
        try:
            self.kernel = Kernel.load(self.place, spec)
        except KernelError:
            self.place.remove()
            raise
        self.fd = syscall.get(self.kernel.pinned.program)

    def serve(self, config: Config, down: set[str] | None = None) -> tuple[DesiredService, ...]:
        """Make the tables say this, and nothing else; counters begin at 0."""
        services: tuple[DesiredService, ...] = desired(config, down=down)
        self.apply(())
        self.forget()
        self.apply(services)
        return services

    def apply(self, services: tuple[DesiredService, ...]) -> int:
        """Reconcile the tables."""
        spec = self.kernel.spec
        return self.kernel.apply(reconcile(services, self.kernel.tables(), spec.capacity, spec.seed))

    def forget(self) -> None:
        """Begin counting at 0, with no flow, fragment or client remembered and every rate paid off."""
        self.kernel.flows.cast("B")[:] = bytes(8 * len(self.kernel.flows))
        with self.map("clients") as fd:
            for line, _ in self.words("clients"):
                syscall.update(fd, line.to_bytes(4, "little"), bytes(8 * WORDS["clients"]))
        self.kernel.stamp = Clock().word
        self.kernel.words("attempts").cast("B")[:] = bytes(8 * CONSTANTS["ATTEMPTS"])
        self.kernel.progress.cast("B")[:] = bytes(4 * len(self.kernel.progress))
        self.kernel.moment = 0
        for name, words in (("verdicts", 20), ("spared", 4), ("answers", 1)):
            with self.map(name) as fd:
                syscall.update(fd, bytes(4), bytes(8 * words * syscall.possible_cpus()))
        for name in REMEMBERED:
            with self.map(name) as fd:
                for key in syscall.keys(fd, REMEMBERED[name][0]):
                    syscall.delete(fd, key)

    def words(self, name: str) -> list[tuple[int, int]]:
        """(line, word) of every word in use of `clients`."""
        with self.map(name) as fd:
            entries = self.kernel.pinned.maps[name]["entries"]
            words = memoryview(syscall.lookup_array(fd, entries, 8 * WORDS[name])).cast("Q").tolist()
        return [(at // WORDS[name], word) for at, word in enumerate(words) if word]

    def flows(self) -> list[tuple[int, int]]:
        """(line, word) of every remembered flow."""
        return [(at // 8, word) for at, word in enumerate(self.kernel.flows.tolist()) if word >> 16]

    def progress(self) -> dict[tuple[int, str], int]:
        """What was counted of SYNs, by backend's identity and what."""
        rows, words = self.kernel.tables().backends, self.kernel.progress.tolist()
        counted = {
            (row.identity, name): words[CONSTANTS["PROGRESS_WORDS"] * n + at]
            for n, row in rows.items()
            for at, name in enumerate(COUNTS)
        }
        return {key: count for key, count in counted.items() if count}

    def attempts(self) -> dict[int, int]:
        """The words of `attempts` in use, by place."""
        return {place: word for place, word in enumerate(self.kernel.words("attempts").tolist()) if word}

    def remembered(self, name: str) -> dict[bytes, bytes]:
        """What a map remembers: `fragments`."""
        key_bytes, value_bytes = REMEMBERED[name]
        with self.map(name) as fd:
            return {key: syscall.lookup(fd, key, value_bytes) for key in syscall.keys(fd, key_bytes)}

    def put_devices(self, numbers: Collection[int]) -> None:
        """Let these numbers of `devices` lead to the loopback interface, and no others anywhere."""
        with self.map("devices") as fd:
            for number in range(4):
                key = number.to_bytes(4, "little")
                if number in numbers:
                    syscall.update(fd, key, LOOPBACK.to_bytes(4, "little"))
                else:
                    with suppress(FileNotFoundError):
                        syscall.delete(fd, key)

    @contextmanager
    def map(self, name: str) -> Iterator[int]:
        """The fd of a map."""
        fd = syscall.get(self.kernel.pinned.folder / name)
        try:
            yield fd
        finally:
            os.close(fd)

    def run(self, packet: Any) -> tuple[Action, Any]:
        """Send one frame through; returns the action and the frame, parsed."""
        action, left = self.run_bytes(bytes(packet))
        return action, Ether(left)

    def run_bytes(self, packet: bytes) -> tuple[Action, bytes]:
        """Send raw bytes through; the kernel wants at least 14."""
        action, left, _ = syscall.test_run(self.fd, packet)
        return Action(action), left

    def reasons(self) -> dict[str, int]:
        """The reasons that were counted."""
        return {name: count for name, count in self.kernel.verdicts().items() if count}

    def close(self) -> None:
        """Leave nothing behind."""
        os.close(self.fd)
        self.kernel.close()
        self.place.remove()


def spec_with(**fields: Any) -> Spec:
    """The usual constants but for these."""
    return replace(SPEC, **fields)
