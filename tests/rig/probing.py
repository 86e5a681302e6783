"""The program for probes without an interface (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import os
from enum import IntEnum

from xdplb.dataplane import loader, syscall
from xdplb.dataplane.plane import Spec
from xdplb.dataplane.probes import Probes, Settings
from xdplb.tables import BackendRow

MARK_AT = 8  # in struct __sk_buff
UNSPECIFIED = 0xFFFFFFFF


class Verdict(IntEnum):
    """TC_ACT_..., include/uapi/linux/pkt_cls.h."""

    OK = 0
    SHOT = 2
    REDIRECT = 7
    UNSPEC = UNSPECIFIED


def settings_of(spec: Spec) -> Settings:
    """Return what probes have in common with a balancer's program."""
    return Settings(spec.outer_df, spec.source4_bits, spec.source6_bits)


class Prober:
    """The program with tables of its own."""

    def __init__(self, place: loader.Place, spec: Spec) -> None:
        place.tunnel.make()
        self.probes = Probes(place, settings_of(spec))
        self.fd = syscall.get(self.probes.pinned.program)

    def begin(self, *rows: BackendRow) -> None:
        """Have exactly these rows, and every counter at 0."""
        self.probes.put({row.identity: row for row in rows})
        fd = syscall.get(self.probes.pinned.folder / "probed")
        syscall.update(fd, bytes(4), bytes(8 * len(self.probes.counters()) * syscall.possible_cpus()))
        os.close(fd)

    def run(self, frame: bytes, mark: int | None) -> tuple[Verdict, bytes]:
        """Send a frame through whose socket has this mark."""
        context = bytes(MARK_AT) + (mark or 0).to_bytes(4, "little")
        verdict, left, _ = syscall.test_run(self.fd, frame, context=context)
        return Verdict(verdict), left

    def send(self, frame: bytes, row: BackendRow) -> tuple[Verdict, bytes]:
        """Send a frame through for this row's backend."""
        return self.run(frame, self.probes.mark(row.identity))

    def counted(self) -> dict[str, int]:
        return {name: count for name, count in self.probes.counters().items() if count}

    def close(self) -> None:
        os.close(self.fd)
        self.probes.close()
