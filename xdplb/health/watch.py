"""Drive the checks: every subject is probed at its times, and what is found becomes the backends' health.

One event loop, no task for what waits. Subjects lie in a heap by the time of their next probe; plain TCP goes by the
connector, other kinds by a task for as long as the probe lasts. Time is counted since the boot, so that what is
remembered means the same after a restart.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from xdplb.desired import Health, Key
from xdplb.health.check import Effect, Evidence, Memory, Probe, ProbeEnded, Report, RiseFall, Start
from xdplb.health.combine import combine
from xdplb.health.connector import Connector, Ended
from xdplb.health.kinds import Kind
from xdplb.health.probe import Target, probe
from xdplb.health.subjects import Subject, Wanted, Wants
from xdplb.logs import log_bug, log_event

log = logging.getLogger("xdplb")

JITTER = 0.1  # share of the interval by which probes spread, so that they do not march in step
TICK_S = 0.004  # probes that are due begin together, so often at the most: being woken costs as much as a probe
MOST_AT_ONCE = 256  # begin in one tick, so that ten thousand unknown backends do not hold everything up
MOST_UNDER_WAY = 16384  # sockets
SUSPECT_S = 1.0  # evidence about a backend counts so often at the most
TROUBLE_S = 10.0  # this host's own troubles are told so often at the most

Aim = Callable[[Subject], Target | str]  # where a subject's probe goes, or why it cannot


@dataclass(slots=True, eq=False)
class _Runner:
    """One subject: its state machine, whose health it is a part of, and what is going on."""

    subject: Subject
    machine: RiseFall
    fingerprint: str
    users: set[Key] = field(default_factory=set)
    due: float = 0.0  # of the loop's clock
    began: float = 0.0  # the last probe, by the same
    last: ProbeEnded | None = None
    at: float = 0.0  # when `last` ended, seconds since 1970
    passed: int = 0  # probes that ended so
    failed: int = 0
    under_way: bool = False
    task: asyncio.Task[None] | None = None
    try_number: int = 0
    target: Target | None = None
    over: bool = False
    aimed: bool = False  # `target` is of now; otherwise it is where the last probe went
    lost: bool = False  # there was no way to it when its turn came


class Watch:
    """The checks of a changing set of backends; `health` holds what they found."""

    def __init__(self, changed: Callable[[], None], aim: Aim | None = None) -> None:
        """`changed` is called, in the event loop, after `health` has changed; `aim` says where probes go."""
        self.health: dict[Key, Health] = {}
        self.memories: dict[str, Memory] = {}  # by fingerprint: what is worth remembering of each check
        self.late_s: list[float] = []  # by how much probes began late, when a bench wants to know
        self.count_late = False
        self._changed = changed
        self._aim = aim or straight
        self._wants: dict[Key, Wanted] = {}
        self._runners: dict[Subject, _Runner] = {}
        self._heap: list[tuple[float, int, _Runner]] = []
        self._number = 0
        self._under_way = 0
        self._connector: Connector[_Runner] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._ticked = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._suspected: dict[Key, float] = {}
        self._troubled = 0.0

    # --- who is checked -------------------------------------------------------------------------------------

    def follow(
        self,
        wanted: Wants,
        known: Mapping[Key, Health] | None = None,
        memories: Mapping[str, Memory] | None = None,
    ) -> None:
        """Check exactly these backends.

        A check that is new starts from what is remembered of it (by fingerprint), or else from what is known of its
        backend: so neither a restart nor a changed check makes a backend unknown.
        """
        for key in [key for key, what in self._wants.items() if wanted.get(key) != what]:
            address = self._wants[key].address
            self._leave(key)
            if key not in wanted or wanted[key].address != address:
                self.health.pop(key, None)  # what was found there says nothing of another place
        for key, what in wanted.items():
            if key not in self._wants:
                self._join(key, what, (known or {}).get(key) or self.health.get(key), memories or {})

    def _leave(self, key: Key) -> None:
        self._suspected.pop(key, None)
        for subject in (subject for group in self._wants.pop(key).groups for subject in group):
            runner = self._runners[subject]
            runner.users.discard(key)
            if not runner.users:
                self._end(runner)

    def _join(self, key: Key, wanted: Wanted, health: Health | None, memories: Mapping[str, Memory]) -> None:
        self._wants[key] = wanted
        for subject in (subject for group in wanted.groups for subject in group):
            runner = self._runners.get(subject)
            if runner is None:
                runner = _Runner(subject, RiseFall(subject.check), subject.fingerprint())
                self._runners[subject] = runner
                memory = memories.get(runner.fingerprint)
                if memory is None and health and health.up is not None:
                    memory = Memory(health.up, health.cause, boot_time())
                runner.users.add(key)
                self._carry_out(runner, runner.machine.handle(Start(memory, random.random()), boot_time()))
                self._remember(runner)
            runner.users.add(key)
        if self._combine(key) and self.health[key].up is not None:
            self._changed()

    def _end(self, runner: _Runner) -> None:
        runner.over = True
        del self._runners[runner.subject]
        self.memories.pop(runner.fingerprint, None)
        if runner.under_way:
            self._under_way -= 1
        if runner.task:
            runner.task.cancel()
        elif runner.under_way and self._connector:
            self._connector.call_off(runner.try_number, runner)

    async def wait_first(self, timeout_s: float) -> bool:
        """Return when every backend has a result, or after the timeout; tell whether there was one to wait for."""
        loop = asyncio.get_running_loop()
        until, waited = loop.time() + timeout_s, False
        while any(self._to_come(key) for key in self._wants) and loop.time() < until:
            waited = True
            await asyncio.sleep(0.002)
        return waited

    def _to_come(self, key: Key) -> bool:
        """Whether a first result of a backend is to be expected."""
        if self.health[key].up is not None:
            return False
        return not any(self._runners[s].lost for group in self._wants[key].groups for s in group)

    def remember_all(self) -> None:
        """Bring `memories` up to date with what did not change what is believed, such as a single failure."""
        for runner in self._runners.values():
            self._remember(runner)

    async def close(self) -> None:
        """Stop all checks."""
        for runner in list(self._runners.values()):
            self._end(runner)
        if self._alarm:
            self._alarm.cancel()
        if self._connector:
            self._connector.close()
        self._wants.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # a program takes a moment to end

    def aim_anew(self) -> None:
        """Ask again where probes go."""
        for runner in self._runners.values():
            runner.aimed = False
            if runner.lost:
                runner.lost = False
                self._schedule(runner, 0)

    # --- evidence -------------------------------------------------------------------------------------------

    def suspect(self, key: Key, cause: str) -> bool:
        """Take up evidence against a backend: it is probed at once. Tell whether that is done for it."""
        wanted, now = self._wants.get(key), boot_time()
        if wanted is None or now - self._suspected.get(key, -SUSPECT_S) < SUSPECT_S:
            return False
        self._suspected[key] = now
        taken = False
        for subject in (subject for group in wanted.groups for subject in group):
            runner = self._runners[subject]
            effects = runner.machine.handle(Evidence(cause, runner.under_way), now)
            self._carry_out(runner, effects)
            taken |= bool(effects) or (runner.under_way and runner.machine.up is True)
        return taken

    # --- when -----------------------------------------------------------------------------------------------

    def _schedule(self, runner: _Runner, after_s: float) -> None:
        self._schedule_at(runner, time.monotonic() + after_s)

    def _schedule_at(self, runner: _Runner, due: float) -> None:
        """Have a probe come at a time of the loop's clock, which is the monotonic one."""
        runner.due = due
        self._number += 1
        heapq.heappush(self._heap, (due, self._number, runner))
        if self._alarm is None or due < self._alarm.when():
            self._set_alarm()

    def _set_alarm(self) -> None:
        """Tick when the next probe is due, and not more often than need be."""
        while self._heap and (self._heap[0][2].over or self._heap[0][0] != self._heap[0][2].due):
            heapq.heappop(self._heap)
        if not self._heap:
            return
        at = max(self._heap[0][0], self._ticked + TICK_S)
        if self._alarm is None or self._alarm.when() > at:
            if self._alarm:
                self._alarm.cancel()
            self._alarm = asyncio.get_running_loop().call_at(at, self._tick)

    def _tick(self) -> None:
        self._alarm, self._ticked = None, asyncio.get_running_loop().time()
        started = 0
        while self._heap and self._heap[0][0] <= self._ticked and started < MOST_AT_ONCE:
            if self._under_way >= MOST_UNDER_WAY:
                break
            due, _, runner = heapq.heappop(self._heap)
            if not runner.over and due == runner.due and not runner.under_way:
                if self.count_late:
                    self.late_s.append(self._ticked - due)
                self._begin_safely(runner)
                started += 1
        self._set_alarm()

    # --- one probe ------------------------------------------------------------------------------------------

    def _begin_safely(self, runner: _Runner) -> None:
        """Begin a probe; a bug costs this one, and not the check."""
        try:
            self._begin(runner)
        except Exception as error:
            log_bug(log, "a probe could not begin", error)
            if runner.under_way:
                runner.under_way = False
                self._under_way -= 1
            self._schedule(runner, runner.subject.check.interval_s)

    def _begin(self, runner: _Runner) -> None:
        check = runner.subject.check
        target = runner.target if runner.aimed and runner.target else self._aim(runner.subject)
        if isinstance(target, str):  # that is the network's to tell: no result, and no reason to change anything
            runner.lost = True
            self._schedule(runner, check.interval_s / 2)
            return
        runner.target, runner.aimed, runner.lost = target, True, False
        runner.under_way, runner.began = True, self._ticked
        self._under_way += 1
        if check.kind is Kind.TCP and check.ask is None:
            self._connect(runner, target)
        else:
            task = asyncio.get_running_loop().create_task(self._ask(runner, target))
            runner.task = task
            self._tasks.add(task)
            task.add_done_callback(partial(self._task_over, runner))

    def _connect(self, runner: _Runner, target: Target) -> None:
        if self._connector is None:
            self._connector = Connector(self._ended)
        try:
            runner.try_number = self._connector.start(target, runner.subject.check.timeout_s, runner)
        except OSError as error:
            self._ended(runner, error)

    async def _ask(self, runner: _Runner, target: Target) -> None:
        try:
            ended: Ended = await probe(runner.subject.check, target)
        except OSError as error:
            ended = error
        self._ended(runner, ended)

    def _task_over(self, runner: _Runner, task: asyncio.Task[None]) -> None:
        """A probe that ends by an error of its own is a bug: say so loudly, and go on with its check."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error:
            log_bug(log, "a probe has ended by a bug", error)
        if runner.task is task and not runner.over:  # it has not said how it ended
            self._ended(runner, ProbeEnded(False, f"{runner.subject.check.kind}: the probe broke off, see the log"))

    def _ended(self, runner: _Runner, ended: Ended) -> None:
        if runner.over:
            return
        runner.under_way, runner.task = False, None
        self._under_way -= 1
        if isinstance(ended, OSError):
            self._tell_trouble(ended)
            self._schedule(runner, runner.subject.check.interval_s)
            return
        runner.last, runner.at = ended, time.time()
        runner.passed, runner.failed = runner.passed + ended.passed, runner.failed + (not ended.passed)
        machine = runner.machine
        said, warning, passes_since = machine.said, machine.warning, machine.passes_since
        self._carry_out(runner, machine.handle(ended, boot_time()), ended=True)
        if machine.passes_since != passes_since:
            self._remember(runner)
        if machine.said != said or machine.warning != warning:
            self._remember(runner)
            self._renew(runner)

    def _carry_out(self, runner: _Runner, effects: list[Effect], ended: bool = False) -> None:
        """Do what the machine wants; after a probe has `ended`, the next one counts from its begin."""
        for effect in effects:
            if isinstance(effect, Probe):
                after_s = effect.after_s * (1 + JITTER * (2 * random.random() - 1))
                now = time.monotonic()
                self._schedule_at(runner, max(now, runner.began + after_s) if ended else now + after_s)
            elif isinstance(effect, Report):
                self._remember(runner)
                self._renew(runner)

    def _remember(self, runner: _Runner) -> None:
        memory = runner.machine.memory
        if memory is not None:
            self.memories[runner.fingerprint] = memory

    def _renew(self, runner: _Runner) -> None:
        """Make anew what is known of the backends that a subject belongs to."""
        changed = [self._combine(key) for key in runner.users if key in self._wants]
        if any(changed):
            self._changed()

    def _combine(self, key: Key) -> bool:
        wanted = self._wants[key]
        groups = [[self._runners[s].machine.result for s in group if s in self._runners] for group in wanted.groups]
        health = combine(groups, wanted.needed)
        known = self.health.get(key)
        self.health[key] = health
        return known is None or known != health

    def _tell_trouble(self, error: OSError) -> None:
        """This host's own trouble says nothing of a backend."""
        if time.monotonic() - self._troubled > TROUBLE_S:
            self._troubled = time.monotonic()
            text = f"probes could not be sent from here: {error}"
            log_event(log, logging.WARNING, "probes_unsent", text, error=error)

    # --- for people -----------------------------------------------------------------------------------------

    def subjects_of(self, key: Key) -> list[Subject]:
        """Return what decides about a backend."""
        wanted = self._wants.get(key)
        return [subject for group in wanted.groups for subject in group] if wanted else []

    def document(self, key: Key) -> list[dict[str, Any]]:
        """Return the state of each check of a backend: `checks` of the status document."""
        return [self._describe(self._runners[subject]) for subject in self.subjects_of(key)]

    def totals(self, key: Key) -> tuple[int, int, float | None]:
        """Return how many probes of a backend passed and failed, and when a check of it last changed (boot time)."""
        runners = [self._runners[subject] for subject in self.subjects_of(key)]
        times = [r.machine.since for r in runners if r.machine.up is not None and r.machine.since is not None]
        return sum(r.passed for r in runners), sum(r.failed for r in runners), max(times, default=None)

    def _describe(self, runner: _Runner) -> dict[str, Any]:
        subject, last = runner.subject, runner.last
        return {
            "kind": str(subject.check.kind),
            "through": "tunnel" if (runner.target.mark if runner.target else subject.way) else "direct",
            "to": str(runner.target or Target(subject.vip.address if subject.vip else subject.address, _port(subject))),
            "up": runner.machine.up,
            "since": runner.machine.since if runner.machine.up is not None else None,
            "cause": runner.machine.cause,
            "last": last.cause if last else None,
            "at": runner.at or None,
            "warning": last.warning if last else "",
        }


def boot_time() -> float:
    """Return the seconds since the boot, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _port(subject: Subject) -> int:
    return subject.vip.port if subject.vip else subject.check.port


def straight(subject: Subject) -> Target:
    """Aim at a backend's own address."""
    service, backend = subject.named or ("", "")
    return Target(subject.address, subject.check.port, backend=backend, service=service)
