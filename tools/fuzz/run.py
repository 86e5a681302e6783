"""One compiled program and its oracle, frame by frame; and how they differ, if they do."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.rig.oracle import Attempt, Flow, Oracle, Outcome, Remembered
from tests.rig.xdp import Action, Xdp
from tools.fuzz.configs import Case
from tools.fuzz.frames import LONGEST, Frames
from tools.fuzz.lists import fill, verdict_of
from tools.fuzz.mutations import Mutations
from xdplb.contract import CONSTANTS
from xdplb.dataplane import syscall
from xdplb.dataplane.plane import Spec
from xdplb.dataplane.trace import HEAD, TraceMaps
from xdplb.hashing import flow_name, hash_account
from xdplb.reconcile import NoRoom
from xdplb.tables import MOVED, MOVING, LimitRow, PutSlots, Tables, slot_parts, slot_word
from xdplb.traced import ACTIONS, Filter, Names

BATCH = 400  # frames between two looks at the counters
FOR_EVER = 1 << 62  # CLOCK_MONOTONIC, ns
LINEAR = 3520  # bytes of a frame that BPF_PROG_TEST_RUN keeps in one buffer
MOMENTS = 200  # that pass from state to state: an attempt of the last one is fresh, of the one before no more
WHAT = {"packet_rate": 1, "connection_rate": 2}  # ACCOUNT_OF_
Step = tuple[int, bytes]  # the state that the services are in, and a frame


@dataclass(frozen=True, slots=True)
class Difference:
    """Where kernel and oracle do not agree; `step` is the number of the frame, None for what came of all of them."""

    what: str
    expected: str
    got: str
    step: int | None = None


Result = tuple[Difference, list[Step]]  # a difference, and the frames until then


@dataclass(slots=True)
class Tally:
    """What was met."""

    packets: int = 0
    met: Counter[str] = field(default_factory=Counter)  # reasons, ways, and what was remembered


class Run:
    """A program with maps of its own. Everything in it happens on one CPU."""

    def __init__(self, spec: Spec, name: str | None = None) -> None:
        self.xdp = Xdp(spec, name or f"fuzz-{os.getpid()}")
        self.test = syscall.TestRun(self.xdp.fd)
        self.traces = TraceMaps(self.xdp.kernel) if spec.trace else None
        self.tally = Tally()

    def close(self) -> None:
        """Leave nothing behind."""
        if self.traces:
            self.traces.close()
        self.xdp.close()

    # --- a configuration ------------------------------------------------------------------------------------

    def fuzz(self, case: Case, packets: int, rng: Random) -> Result | None:
        """Try a configuration; return what differs and all frames until then."""
        frames, mutations = Frames(case, rng), Mutations(rng, LONGEST[case.spec.frags])
        steps: list[Step] = []
        self.begin(case)
        for state in range(len(case.states)):
            if not self.enter(state):
                break
            for _ in range(-(-packets // (len(case.states) * BATCH))):
                batch = [self._frame(frames, mutations) for _ in range(BATCH)]
                steps += ((state, frame) for frame in batch)
                if difference := self._try(batch):
                    return difference, steps
        if difference := self.compare_memory():
            return difference, steps
        self._note_memory(steps)
        return None

    def _note_memory(self, steps: Sequence[Step]) -> None:
        oracle, met = self.oracle, self.tally.met
        met["flows born"] += sum(flow.born for flow in oracle.flows.values())
        met["flows learned"] += sum(not flow.born for flow in oracle.flows.values())
        met["fragments kept"] += len(oracle.reader.fragments)
        met["attempts"] += sum(count for (_, what), count in oracle.progress.items() if what != "progressed")
        met["progress"] += sum(count for (_, what), count in oracle.progress.items() if what == "progressed")
        met["accounts kept"] += len(oracle.accounts)
        met["spared"] += sum(oracle.spared.values())
        met["in a later state"] += sum(state > 0 for state, _ in steps)
        met["of several buffers"] += sum(len(frame) > LINEAR for _, frame in steps)

    def _frame(self, frames: Frames, mutations: Mutations) -> bytes:
        roll = mutations.rng.random()
        if roll < 0.72:
            frame = frames.make()
            if roll < 0.05:
                mutations.note(frame)
            return frame
        return mutations.make() if roll < 0.96 else mutations.noise()

    def _try(self, batch: Sequence[bytes]) -> Difference | None:
        for frame in batch:
            if difference := self.check(frame):
                return difference
        return self.compare_counters()

    def replay(self, case: Case, steps: Sequence[Step], closely: bool = True) -> Difference | None:
        """Try these frames and no others, `closely`: with a look at the counters after each of them."""
        self.begin(case)
        at = -1
        for number, (state, frame) in enumerate(steps):
            while at < state:
                at += 1
                if not self.enter(at):
                    return None
            difference = self.check(frame) or (self.compare_counters() if closely else None)
            if difference:
                return Difference(difference.what, difference.expected, difference.got, number)
        return self.compare_counters() or self.compare_memory()

    def begin(self, case: Case) -> None:
        """Empty everything."""
        self.case = case
        self.xdp.apply(())
        self.xdp.forget()
        self.xdp.put_devices(case.devices)
        self.oracle = Oracle(case.spec, verdict_of(case.lists))
        if case.spec.prefixes:
            fill(self.xdp, case.lists)
        self.oracle.devices = set(case.devices)
        self.reasons: Counter[str] = Counter()
        self.traffic: dict[int, list[int]] = {}  # by identity
        self._limits: dict[int, LimitRow] = {}  # the same
        if self.traces:
            self.traces.put_filter(0, Filter(), FOR_EVER)
            self.traces.read(BATCH)
            self._reasons = list(self.xdp.kernel.verdicts())

    def enter(self, number: int) -> bool:
        """Go on to a state; False when the tables have no room for it."""
        try:
            self.xdp.apply(self.case.states[number])
        except NoRoom:
            return False
        self._let_move()
        self.xdp.kernel.moment = self.oracle.moment = number * MOMENTS
        tables = self.xdp.kernel.tables()
        tables = Tables(tables.services, tables.backends, tables.slots[:], tables.limits, tables.networks)
        self.oracle.serve(self.case.states[number], tables)
        self._rows = tables.backends
        self._limits |= {row.identity: row for row in tables.limits.values()}
        live = {row.identity for row in tables.backends.values()}
        self.traffic = {identity: self.traffic.get(identity, [0, 0, 0]) for identity in live}
        return True

    def _let_move(self) -> None:
        """Have the learn window end for a third of the slots that are moving."""
        slots = self.xdp.kernel.tables().slots
        parts = {at: slot_parts(word) for at, word in enumerate(slots[:]) if at % 3 == 0 and word >> 62 == MOVING}
        moved = {at: slot_word(backend, previous, MOVED) for at, (backend, previous, _) in parts.items()}
        self.xdp.kernel.apply([PutSlots(0, moved)])

    # --- one frame ------------------------------------------------------------------------------------------

    def check(self, frame: bytes) -> Difference | None:
        """Send a frame both ways."""
        expected = self.oracle.walk(frame)
        action, left = self.test.run(frame)
        if action != expected.action or (left != expected.frame and action != Action.DROP):
            return Difference("frame", _show(expected), _show(Outcome(Action(action), left)))
        self._note(expected, len(frame))
        return self._compare_trace(frame, expected) if self.traces else None

    def _compare_trace(self, frame: bytes, expected: Outcome) -> Difference | None:
        """See whether what was traced is what happened."""
        assert self.traces
        names, leaves = Names(self._reasons), expected.action in (Action.TX, Action.REDIRECT)
        got = [
            (ACTIONS[r.action].upper(), names.reason(r.reason) or "", r.length, r.arrived, r.length_out, r.leaving)
            for r in self.traces.read(2)
        ]
        out = expected.frame if leaves else b""
        told = (expected.action.name, expected.reason, len(frame), frame[:HEAD], len(out), out[:HEAD])
        return None if got == [told] else Difference("trace", str(told), str(got))

    def _note(self, outcome: Outcome, size: int) -> None:
        tally = self.tally
        tally.packets += 1
        if outcome.reason:
            self.reasons[outcome.reason] += 1
            tally.met[outcome.reason] += 1
            return
        row = self._rows[outcome.backend]
        counts = self.traffic[row.identity]
        counts[0] += 1
        counts[1] += size
        counts[2] += outcome.opens
        tally.met[row.way] += 1

    # --- what all of them leave behind ----------------------------------------------------------------------

    def compare_counters(self) -> Difference | None:
        """Compare reasons, traffic, what was spared and what became of SYNs, since the beginning."""
        kernel = self.xdp.kernel
        counted = {name: count for name, count in kernel.verdicts().items() if count}
        traffic = {i: [t.packets, t.bytes, t.connections] for i, t in kernel.traffic().items()}
        spared = {name: count for name, count in kernel.spared().items() if count}
        return (
            _compare("verdicts", dict(self.reasons), counted)
            or _compare("traffic", self.traffic, traffic)
            or _compare("spared", dict(self.oracle.spared), spared)
            or _compare("progress", {k: n for k, n in self.oracle.progress.items() if n}, self.xdp.progress())
        )

    def compare_memory(self) -> Difference | None:
        """Compare flows, attempts, fragments and accounts."""
        oracle, xdp = self.oracle, self.xdp
        lines = self.case.spec.capacity.flows
        expected = Counter(_remembered(flow, kept, lines) for flow, kept in oracle.flows.items())
        kept = Counter(xdp.flows())
        fragments = {
            b"%b%b%b%b" % (*key[:3], key[3].to_bytes(4, "little")): b"".join(port.to_bytes(2, "big") for port in ports)
            + bytes(4)
            for key, ports in oracle.reader.fragments.items()
        }
        return (
            _compare("flows", dict(expected), dict(kept))
            or _compare("attempts", {place: _word(a) for place, a in oracle.attempts.items()}, xdp.attempts())
            or _compare("fragments", fragments, xdp.remembered("fragments"))
            or self._compare_accounts()
        )

    def _compare_accounts(self) -> Difference | None:
        """Times are compared as how many were charged; all accounts have the same cost."""
        spec = self.case.spec
        expected: Counter[tuple[int, int, int]] = Counter()
        cost = 1
        for (what, identity, version, client), owed in self.oracle.accounts.items():
            if what in WHAT:
                row = self._limits[identity]
                packed = client.to_bytes(16, "big") if version == 6 else bytes(12) + client.to_bytes(4, "big")
                halves = int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")
                masks = row.client6 if version == 6 else (0, row.client4 << 32)
                number = hash_account(halves, version, masks, identity, WHAT[what], spec.hash_key)
                line, name = (number >> 32) * spec.capacity.clients >> 32, number & 0xFFFFFF
                cost = (row.packet if what == "packet_rate" else row.connection)[0]
                expected[line, name, owed // cost] += 1
        with self.xdp.map("clients") as fd:
            words = memoryview(syscall.lookup_array(fd, spec.capacity.clients, 64)).cast("Q")
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> 6
        got: Counter[tuple[int, int, int]] = Counter()
        for place, word in enumerate(words):
            if word:
                ahead = (word - now) & (1 << 40) - 1
                got[place // 8, word >> 40, -(-ahead // cost)] += 1
        return _compare("clients", dict(expected), dict(got))


def _remembered(flow: Flow, kept: Remembered, lines: int) -> tuple[int, int]:
    line, name = flow_name(*flow, lines)
    born, closing = kept.born << CONSTANTS["FLOW_BORN_SHIFT"], kept.closing << CONSTANTS["FLOW_CLOSING_SHIFT"]
    return line, name | born | closing | 1 << CONSTANTS["FLOW_STAMP_SHIFT"] | kept.backend


def _word(attempt: Attempt) -> int:
    name, moment = CONSTANTS["ATTEMPT_NAME_SHIFT"], CONSTANTS["ATTEMPT_MOMENT_SHIFT"]
    return attempt.name << name | attempt.moment << moment | attempt.backend


def _compare(what: str, expected: Mapping[Any, object], got: Mapping[Any, object]) -> Difference | None:
    if expected == got:
        return None
    keys = [key for key in {**expected, **got} if expected.get(key) != got.get(key)][:5]
    left, right = (str({_name(key): _name(side.get(key)) for key in keys}) for side in (expected, got))
    return Difference(what, left, right)


def _name(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _show(outcome: Outcome) -> str:
    why = f" {outcome.reason}" if outcome.reason else ""
    return f"{outcome.action.name}{why} {outcome.frame.hex()}"
