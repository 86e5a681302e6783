"""`python -m tools.explain_check`: what `explain` says of a packet against what then becomes of it (root).

Generated packets meet generated configurations, as in tools/fuzz. Each packet is explained, the tables are seen
untouched, and then it really goes through the program, on the same CPU: verdict, backend and bytes must be equal.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import click

from tests.rig.xdp import LOOPBACK, Xdp
from tools.fuzz.configs import Case, case_of, spec_of
from tools.fuzz.frames import LONGEST, Frames
from tools.fuzz.lists import draw_lists, fill
from tools.fuzz.mutations import Mutations
from xdplb.contract import CONSTANTS
from xdplb.dataplane import loader, syscall
from xdplb.dataplane.instructions import read_code
from xdplb.dataplane.outcome import ACTIONS
from xdplb.dataplane.shadow import Shadow
from xdplb.explain.places import Places
from xdplb.explain.story import Arrival, tell
from xdplb.explain.world import World
from xdplb.reconcile import NoRoom
from xdplb.tables import MOVED, MOVING, PutSlots, slot_parts, slot_word

ARRIVAL = Arrival(LOOPBACK, "lo")
LOOK = 199  # every so many packets, all tables are compared, not only counters


@dataclass(slots=True)
class Report:
    """What was met, and what did not agree."""

    packets: int = 0
    met: Counter[str] = field(default_factory=Counter)
    whys: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


class Check:
    """One program, with a shadow beside it."""

    def __init__(self, xdp: Xdp, report: Report) -> None:
        self.xdp, self.report = xdp, report
        pinned = xdp.kernel.pinned
        self.shadow = Shadow(pinned, read_code(loader.code_file(xdp.place, pinned.program)))
        self.real = syscall.TestRun(xdp.fd)
        self._fds: dict[str, tuple[int, int, int]] = {}  # of counters: descriptor, bytes of an element, elements
        for name in ("verdicts", "traffic", "spared"):
            fd = syscall.get(pinned.folder / name)
            shape = syscall.map_shape(fd)
            self._fds[name] = fd, shape.value_bytes * syscall.possible_cpus(), shape.entries

    def close(self) -> None:
        """Give the shadow back."""
        self.shadow.close()
        for fd, _, _ in self._fds.values():
            os.close(fd)

    def try_case(self, case: Case, packets: int, rng: Random) -> None:
        """Go through a configuration's states with so many packets."""
        xdp, frames, mutations = self.xdp, Frames(case, rng), Mutations(rng, LONGEST[case.spec.frags])
        xdp.apply(())
        xdp.forget()
        xdp.put_devices(case.devices)
        if case.spec.prefixes:
            fill(xdp, case.lists)
        for number, state in enumerate(case.states):
            try:
                xdp.apply(state)
            except NoRoom:
                return
            self._let_move()
            xdp.kernel.moment = 200 * number
            for _ in range(packets // len(case.states)):
                roll = rng.random()
                self.try_frame(frames.make() if roll < 0.8 else mutations.make() if roll < 0.97 else mutations.noise())

    def _let_move(self) -> None:
        """Have the learn window end for a third of the slots that are moving."""
        slots = self.xdp.kernel.tables().slots
        parts = {at: slot_parts(word) for at, word in enumerate(slots[:]) if at % 3 == 0 and word >> 62 == MOVING}
        moved = {at: slot_word(backend, previous, MOVED) for at, (backend, previous, _) in parts.items()}
        self.xdp.kernel.apply([PutSlots(0, moved)])

    def try_frame(self, frame: bytes) -> None:
        """Explain one, then send it."""
        report, whole = self.report, self.report.packets % LOOK == 0
        before = self._state(whole)
        told = self._explain(frame)
        if self._state(whole) != before:
            report.differences.append(f"the tables were changed by explaining {frame.hex()}")
        action, left = self.real.run(frame)
        problem = self._compare(told, ACTIONS[action], left)
        if problem:
            report.differences.append(f"{problem}; {told['summary']}; frame {frame.hex()}")
        report.packets += 1
        report.met[told["reason"] or "forwarded"] += 1
        if told["slot"] and told["reason"] is None:
            report.whys[f"{told['slot']['state']}, {told['slot']['why']}"] += 1

    def _explain(self, frame: bytes) -> dict[str, Any]:
        self.shadow.follow()
        kernel = self.xdp.kernel
        tables = kernel.tables()
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> CONSTANTS["TIME_SHIFT"]
        world = World(kernel.spec, tables, kernel.flows, self.shadow.fragments, now=now)
        self._outcome = self.shadow.run(frame, ARRIVAL.index)
        return tell(world, Places(kernel.spec, tables), frame, ARRIVAL, self._outcome)

    def _compare(self, told: dict[str, Any], action: str, left: bytes) -> str:
        """Say what is not as it was told; "" when all is."""
        if told["disagreements"]:
            return "; ".join(told["disagreements"])
        if told["action"] != action:
            return f"told {told['action']}, and it was {action}"
        if action != "drop" and told["out"]["hex"] != left.hex():
            return f"told {told['out']['hex']}, and it was {left.hex()}"
        reason, backend = self._counted()
        if (told["reason"], self._outcome.backend) != (reason, backend):
            return f"told {told['reason']} and backend {self._outcome.backend}, and it was {reason} and {backend}"
        return ""

    def _counted(self) -> tuple[str | None, int | None]:
        """Return the reason and the backend's index that the real run counted: what differs from the copy's begin."""
        now = self._counters()
        names = [name for name, _ in self.xdp.kernel.pinned.maps["verdicts"]["value"]["fields"]]
        words, size = _grown(self._before["verdicts"], now["verdicts"], 8), self._fds["traffic"][1]
        sent = _grown(self._before["traffic"], now["traffic"], size)
        return (names[words[0] % len(names)] if words else None), (sent[0] if sent else None)

    def _counters(self) -> dict[str, bytes]:
        """Return all counters, raw."""
        return {name: bytes(syscall.lookup_array(fd, entries, size)) for name, (fd, size, entries) in self._fds.items()}

    def _state(self, whole: bool) -> dict[str, object]:
        """Return counters, and with `whole` a digest of every table."""
        self._before = self._counters()
        return {**self._before, **(dump(self.xdp) if whole else {})}


def _grown(before: bytes, after: bytes, size: int) -> list[int]:
    """Return which elements of so many bytes are others."""
    if before == after:
        return []
    return [at // size for at in range(0, len(before), size) if before[at : at + size] != after[at : at + size]]


def dump(xdp: Xdp) -> dict[str, object]:
    """Return a digest of every table, byte for byte."""
    found: dict[str, object] = {}
    for name, described in xdp.kernel.pinned.maps.items():
        with xdp.map(name) as fd:
            shape = syscall.map_shape(fd)
            if shape.type in (9, 11):  # hashes: LRU_HASH, LPM_TRIE
                content = {key: syscall.lookup(fd, key, shape.value_bytes) for key in syscall.keys(fd, shape.key_bytes)}
                found[name] = sorted(content.items())
            elif shape.type == 2:  # ARRAY: all of them can be mapped
                with mmap.mmap(fd, -(-shape.value_bytes * shape.entries // mmap.PAGESIZE) * mmap.PAGESIZE) as table:
                    found[name] = hashlib.blake2b(table).hexdigest()
            elif described["per_cpu"]:
                size = shape.value_bytes * syscall.possible_cpus()
                found[name] = hashlib.blake2b(syscall.lookup_array(fd, shape.entries, size)).hexdigest()
    return found


def check(seed: int, packets: int, specs: int, configs: int) -> Report:
    """Try so many packets, over configurations of several programs."""
    report = Report()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # counters and answers are per CPU
    for number in range(specs):
        spec = spec_of(seed, number)
        xdp = Xdp(spec, f"explain-{os.getpid()}")
        try:
            tried = Check(xdp, report)
            for at in range(configs):
                rng = Random(f"{seed} config {number} {at}")
                case = case_of(spec, rng)
                lists = draw_lists(rng) if spec.prefixes else ()
                tried.try_case(Case(spec, case.states, case.devices, lists), packets // (specs * configs), rng)
            tried.close()
        finally:
            xdp.close()
    return report


@click.command()
@click.option("--packets", default=10_000, show_default=True, help="Packets over all.")
@click.option("--specs", default=5, show_default=True, help="Programs that are compiled.")
@click.option("--configs", default=8, show_default=True, help="Configurations of each.")
@click.option("--seed", default=1, show_default=True, help="What everything random follows from.")
def main(packets: int, specs: int, configs: int, seed: int) -> None:
    """Compare what is told of packets with what becomes of them."""
    if os.geteuid():
        raise click.ClickException("loading XDP programs needs root")
    began = time.monotonic()
    report = check(seed, packets, specs, configs)
    for difference in report.differences[:20]:
        click.echo(difference)
    for counts in (report.met, report.whys):
        click.echo(", ".join(f"{name} {n:,}" for name, n in counts.most_common()))
    took = time.monotonic() - began
    click.echo(f"{report.packets:,} packets in {took:.1f} s, {len(report.differences)} differences (seed {seed})")
    sys.exit(1 if report.differences else 0)


if __name__ == "__main__":
    main()
