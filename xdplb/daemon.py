"""The daemon: keeps what the kernel does equal to what is desired, and nothing more.

It may die at any moment: the program and its tables are pinned, and the next daemon adopts them. Whatever happens
(a check's result, a neighbour's answer, an operator's change) only wakes `reconcile`, which finds what is new in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xdplb import __version__, hashing, state
from xdplb.audit import Audit
from xdplb.checks import Checks
from xdplb.contract import CONSTANTS
from xdplb.dataplane import loader
from xdplb.dataplane.plane import Spec
from xdplb.dataplane.undo import linked
from xdplb.desired import (
    DesiredService,
    Health,
    Key,
    Overrides,
    desire,
    keys_of,
    second_header,
    services_of,
)
from xdplb.errors import DaemonError, KernelError, RefusedError
from xdplb.events import Events
from xdplb.evidence import Evidence, log_suspicion
from xdplb.explain.world import names_of
from xdplb.explainer import Explainer
from xdplb.features import spec_for, ways_of
from xdplb.forwarding import Forwarding, Totals
from xdplb.guard import Lists, check_room, read_files
from xdplb.health.kinds import Kind
from xdplb.health.watch import boot_time
from xdplb.leaving import Flows, backends_of, breaks, departure, removals_over
from xdplb.logs import log_bug, log_event
from xdplb.model import Config
from xdplb.net import Network, read_nic, tx_errors
from xdplb.operators import drop_backends, forget_said
from xdplb.passive import Passive
from xdplb.planning import plan_change
from xdplb.prefixes import parse_prefix
from xdplb.proof import Proof
from xdplb.reload import Reload, Wanted, sources, tunnel_settings
from xdplb.room import next_seed
from xdplb.running import Running
from xdplb.saving import Saving
from xdplb.schedule import Schedule
from xdplb.status import SlotCounts, count_slots, counting_slots, forwarded_document, services_document
from xdplb.sweeper import Sweeper
from xdplb.tables import Traffic, entries_written
from xdplb.tracing import Tracing
from xdplb.trial import Trial, take_lock
from xdplb.tunnel import Tunnel, detach
from xdplb.upkeep import Upkeep

log = logging.getLogger("xdplb")

SWITCH_S = 0.0005  # so long may a thread (a large ring, the state) keep checks from the processor; Python's own: 5 ms
FIRST_LOOK_S = 1.0  # how long a start waits for neighbours and first probes before it forwards with what it knows
LOOK_S = 2.0  # how often to see whether the program is still attached: nobody tells when a link is detached
INTACT_S = 10.0  # how often to see whether the tunnel's programs are still attached
SELF_TEST_S = 1.0  # until a self-test that failed is run again
IDLE_S = 60.0  # how long the copy that explains packets is kept for the next question
COUNTS = 3  # attempts to count slots in pieces, when they change all the time
PROBE_WAIT_S = 0.25  # how long an operator's change waits at the most for the first probe of a new backend

NO_NIC: dict[str, Any] = {
    **dict.fromkeys(("index", "mode", "program_id", "link_id", "driver", "mtu")),
    **dict.fromkeys(("rx_packets", "tx_packets", "xdp_tx_errors")),
    **{"up": False, "carrier": False, "compiled": [], "map_bytes": 0, "layout": None, "code": None},
}


@dataclass(slots=True)
class Reconciled:
    """The last reconcile, for people. `adopted`: the daemon found its program pinned and took it over."""

    at: float = 0.0
    writes: int = 0
    adopted: bool = False
    took_s: float = 0.0
    error: str | None = None


@dataclass(slots=True)
class Counted:
    """All reconciles since the start. `succeeded_at`: when the last good one ended, seconds since 1970."""

    runs: int = 0
    writes: int = 0  # map entries
    errors: int = 0
    succeeded_at: float | None = None


class Daemon:
    """One balancer on its interfaces."""

    def __init__(
        self,
        path: Path,
        config: Config,
        confirm_s: float | None = None,
        self_test: bool = False,
        text: str = "",
        given: str | None = None,
    ) -> None:
        """`confirm_s`: what is attached is taken back unless confirmed in this time, also by the self-test if wanted.

        `text` is the file's; `given` the name that was typed, if one was.

        Raises RefusedError when an interface does not exist.
        """
        balancer = config.balancer
        self.path, self.config, self.name = path, config, balancer.name
        self.place = loader.Place(self.name)
        self.kept = state.Kept()
        self.services: tuple[DesiredService, ...] = ()
        self.last = Reconciled()
        self.started: Reconciled | None = None
        self._began = time.time()
        self.counted = Counted()
        self.scraping = asyncio.Lock()  # for metrics, one at a time
        self.went_round = time.monotonic()  # when `run` last had nothing in its way
        self._loaded = False  # `kept` is what the file said: only then may it be written
        self._secret = ""
        self.saving = Saving(self.name, self._state, self._saved)
        self._placed_of: Overrides | None = None  # whose backends `kept.places` is about
        self._unsaved = ""  # why the state could not be written, if it could not
        self._slots: SlotCounts | None = None
        self._following = False  # checks have begun with what was kept
        self._looked_at_ways = 0.0
        self._news = 0  # of the network's, that checks know
        self._gone = False  # a backend that was removed may still be looked for
        self._specs: tuple[object, Spec] | None = None  # what the last one was made of, and it
        self.lists = Lists()
        self._wake, self.turn = asyncio.Event(), asyncio.Lock()
        self.configured = {service.name: service for service in config.services}
        self.schedule = Schedule(config, self._wake.set)
        given_sources = sources(balancer)
        self.network = Network(balancer.interfaces, given_sources[4], given_sources[6], self._wake.set)
        self.checks = Checks(self._wake.set, Tunnel(self.place, tunnel_settings(balancer)))
        self.evidence = Evidence(config, self.checks.watch.suspect, self._wake.set)
        self.events = Events(int(time.time() * 1000))
        self.audit = Audit(self.name, int(time.time() * 1000))
        self.admin_warnings: list[str] = []  # of those who serve this daemon
        self.admin_changed: Callable[[], None] = lambda: None  # who may connect
        self.forwarding = Forwarding(self.place, self.network.interfaces, balancer.mode)
        self.forwarding.carry = self._carry
        self.explainer = Explainer(self.place)
        self._idle: asyncio.TimerHandle | None = None  # gives the explainer's shadow back
        self.sweeper = Sweeper(self.forwarding, self._swept)
        self.passive = Passive(self.forwarding, self._suspect)
        self.tracing = Tracing(self.forwarding, self.turn)
        self._looking: list[asyncio.Task[None]] = []  # for ever, at what the kernel counts
        self.upkeep = Upkeep(self.network, self.forwarding, self.events.tell)
        self.confirm_s, self.proof = confirm_s, Proof(self.network, self.forwarding) if self_test else None
        self._proving: asyncio.Task[None] | None = None
        self.reload = Reload(self)
        self.running = Running(self, text, given)

    # --- start and end --------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Be the only daemon of this name until this process ends. Raises RefusedError."""
        self.place.make()
        self._lock_file = open(self.place.run / "lock", "a+")  # noqa: SIM115 (open until the process ends)
        os.fchmod(self._lock_file.fileno(), 0o600)  # who may open it may lock it
        try:
            take_lock(self._lock_file)
        except BlockingIOError as error:
            raise RefusedError(
                f"{self.name!r} is already running (pid {error}); stop it first, or set another balancer.name"
            ) from None
        self._lock_file.truncate(0)
        self._lock_file.write(f"{os.getpid()}\n")
        self._lock_file.flush()

    async def start(self, replace_other: bool) -> None:
        """Look around, fill the tables, attach. Raises XdplbError; then what it made is gone again."""
        try:
            await self._start(replace_other)
        except BaseException:
            if not self.forwarding.trial:  # otherwise its guardian does it, and more
                if not linked(self.place):
                    with contextlib.suppress(KernelError, OSError):
                        await detach(self.place)
                loader.forget_unused(self.place)
            raise

    async def _start(self, replace_other: bool) -> None:
        self.kept = state.load(self.name)
        self._loaded = True
        self.schedule.ramps.began = self.kept.ramps
        self._finish_removals()  # those whose deadline passed while nobody was here
        self.lists = await asyncio.to_thread(read_files, self.config.guard, self.path.parent)
        said = self.lists.said(self.kept.overrides.prefixes)
        self.kept.overrides = forget_said(self.config, self.kept.overrides, said)
        self.lists.put_all(self.kept.overrides.prefixes)
        check_room(self.config.guard, self.lists)
        self._secret = self.secret_of(self.config)
        await self._begin_trial()
        await self.forwarding.make_way(replace_other)
        loading = asyncio.create_task(self.forwarding.load(self._spec(self.forwarding.known_spec()), replace_other))
        try:
            await self._look_around()
        finally:
            adopted = await loading
        self.last.adopted = adopted
        if self.proof:
            self.proof.note()
        await self._guard()
        if self.forwarding.kernel.tables().services and self.forwarding.attached():
            await self.forwarding.attach()  # the program that knows what these tables are about to hold
        await self.reconcile()
        self.forwarding.adopt_transitions(self.services)
        for nic in await self.forwarding.attach():
            how, writes = "adopted" if adopted else "compiled and loaded", self.last.writes
            text = (
                f"{nic.name}: program {nic.program_id} {how}, {nic.xdp_mode} mode; reconcile wrote {writes} map entries"
            )
            facts = {"program": nic.program_id, "mode": nic.xdp_mode, "how": how, "writes": writes}
            log_event(log, logging.INFO, "attach", text, interface=nic.name, **facts)
            self.events.tell("attach", f"{nic.name}: program {nic.program_id}, {nic.xdp_mode} mode")
        self.started = self.last
        self.evidence.start()
        for work in (self.sweeper.run(), self.passive.run(), self.running.watch()):
            task = asyncio.create_task(work)
            task.add_done_callback(_report)
            self._looking.append(task)
        await self._see_trial()
        for warning in self.warnings():
            log_event(log, logging.WARNING, "warning", warning)

    async def _begin_trial(self) -> None:
        """From here on, have everything taken back that is attached, unless it is confirmed. Raises KernelError."""
        if self.confirm_s is not None:
            modes = {index: (await read_nic(index)).xdp_mode or "" for index in linked(self.place)}
            trial = Trial(self.place, self.config.balancer.mode, modes, self.confirm_s)
            trial.changed = self._wake.set
            self.forwarding.trial = trial
            await trial.begin(self._lock_file.fileno())

    async def _see_trial(self) -> None:
        """Say what has to be confirmed, and begin the self-test if that is to do it."""
        trial = self.forwarding.trial
        if trial is None:
            return
        if trial.changed_nothing():
            await self.forwarding.confirm()
            text = "--confirm: nothing was attached or replaced, so there is nothing to confirm"
            log_event(log, logging.INFO, "confirm", text, by="nobody")
            return
        text = f"unconfirmed: {trial.threat} in {trial.left_s:.0f} s unless `xdplb confirm`"
        log_event(log, logging.WARNING, "unconfirmed", text, threat=trial.threat, left_s=round(trial.left_s))
        if self.proof:
            self._proving = asyncio.create_task(self._prove(self.proof))

    async def _prove(self, proof: Proof) -> None:
        """Run the self-test until it passes; then nobody has to confirm any more."""
        while self.forwarding.trial:
            checks = [
                (check, b.address)
                for s, b in keys_of(self.config.services, self.kept.overrides)
                for check in s.checks
                if check.kind is Kind.TCP and check.port
            ]
            if await proof.run(self.services, self.lists, checks):
                with contextlib.suppress(DaemonError):  # too late: `run` ends with that
                    await self.confirm()
                    log_event(log, logging.INFO, "confirm", "self-test passed: confirmed", by="self-test")
                return
            await asyncio.sleep(SELF_TEST_S)

    async def _look_around(self) -> None:
        """Find routes, neighbours and first probe results, for a bounded time."""
        await self.network.find({b.address for _, b in keys_of(self.config.services, self.kept.overrides)})
        await self.network.wait_resolved(FIRST_LOOK_S)
        self._news = self.network.news
        await self.checks.open(self.config.services)
        services = desire(self.config, self.kept.overrides, {}, self.network.hops)
        self.checks.put_ways(services, self.configured)
        there = {(s.name, b.name): str(b.address) for s, b in keys_of(self.config.services, self.kept.overrides)}
        known = {key: h for key, h in self.kept.health.items() if self.kept.places.get(key) == there.get(key)}
        self.checks.follow(keys_of(self.config.services, self.kept.overrides), known, self.kept.checks)
        self._following = True
        await self.checks.watch.wait_first(FIRST_LOOK_S)

    def warnings(self) -> list[str]:
        """Return what the operator should mend.

        An outer header that does not fit is dropped without a word (RFC 2003, 5.1).
        """
        found = [*([self._unsaved] if self._unsaved else []), *self.upkeep.warnings(), *self.running.warnings()]
        found += [*self.checks.warnings, *self.evidence.warnings, *self.audit.warnings, *self.admin_warnings]
        for nic in self.network.nics:
            overhead = max(
                (way.overhead + second_header(s) for s in self.config.services for way in ways_of(s)), default=0
            )
            need = 1500 + overhead
            if nic.mtu < need:
                found.append(
                    f"{nic.name} has MTU {nic.mtu}, full-sized client packets need {need}: run `ip link set {nic.name} "
                    f"mtu {need}` here and on the way to the backends; until then clients are told to send less"
                )
        return found

    async def run(self) -> None:
        """Reconcile whenever something happened, for ever."""
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()  # what there is stays: to look through it for garbage takes 300 ms with 20,000 backends
        while True:
            self.went_round = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_S)
            async with self.turn:
                if self.forwarding.trial:
                    self.forwarding.trial.check()
                if self._proving and self._proving.done():
                    self._proving.result()
                self.upkeep.look()
            await self._look_at_ways()
            if not self._wake.is_set():
                if self._gone:  # now that there is time: whose way need not be known any more?
                    self._gone = False
                    wanted = {b.address for _, b in keys_of(self.config.services, self.kept.overrides)}
                    await self.network.find(wanted)
            else:
                await self.reconcile()

    async def _look_at_ways(self) -> None:
        """See whether probes leave by other ways: when the network has changed, and whether the program is there."""
        now = time.monotonic()
        news = self.network.news != self._news
        if not news and now - self._looked_at_ways < INTACT_S:
            return
        self._looked_at_ways = now
        if news or not await self.checks.intact():
            self._news = self.network.news
            await self.checks.look()

    async def close(self) -> str:
        """Stop looking; return what becomes of what is attached."""
        if self._proving:
            self._proving.cancel()
        await self.tracing.finish()
        self.running.close()
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        self.saving.close()
        if self._loaded:
            self.checks.watch.remember_all()
            self.save()
        self.evidence.close()
        self.explainer.close()
        if self.forwarding.trial:
            undone = await self.forwarding.trial.close()
            await self.checks.close(and_tunnel=not linked(self.place))
            return f"unconfirmed: {undone}"
        await self.checks.close()
        return "what is attached goes on forwarding (`xdplb detach` ends it)"

    # --- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self) -> None:
        """Make the kernel equal to what is desired now. What the kernel refuses is logged and kept in `last`."""
        async with self.turn:
            began = time.monotonic()
            try:
                await self.reconcile_now()
            except (KernelError, OSError) as problem:
                if self.last.at == 0:  # the first one: the daemon cannot start
                    raise
                log_event(log, logging.ERROR, "reconcile_failed", f"reconcile: {problem}", error=str(problem))
                took_s = time.monotonic() - began
                self._count(Reconciled(time.time(), 0, self.last.adopted, took_s, str(problem)))

    async def reconcile_now(self) -> None:
        """Do that, by whom `turn` has. Raises KernelError."""
        self._wake.clear()
        began = time.monotonic()
        writes = await self._reconcile()
        self._count(Reconciled(time.time(), writes, self.last.adopted, time.monotonic() - began))

    def _count(self, last: Reconciled) -> None:
        counted, self.last = self.counted, last
        counted.runs, counted.writes = counted.runs + 1, counted.writes + last.writes
        if last.error:
            counted.errors += 1
        else:
            counted.succeeded_at = last.at

    async def _reconcile(self) -> int:
        if self._finish_removals():
            self.save()
            self._gone = True
            self.follow()
        before, self.kept.health = self.services, self.checks.health
        self.services, found = self.schedule.desire(self.kept.overrides, self.health, self.network.hops, before)
        self.schedule.set_alarm(self.kept.overrides)
        try:
            changes = await self.forwarding.write(self.services, self.spec())
        finally:  # nobody waits for these, the packets least of all
            self.checks.put_ways(self.services, self.configured)
            self.evidence.follow(self.services)
            for event in self.events.follow(before, self.services):
                log_event(log, logging.INFO, "backend_state", str(event), **event.fields())
            if found:
                self.saving.soon()
        if changes:
            self._slots = None
        self.flows_counted()  # where nothing is learned, nobody will be counted
        return entries_written(changes)

    @property
    def health(self) -> Mapping[Key, Health]:
        """What the checks found, but for who is ejected."""
        return self.evidence.judge(self.checks.health)

    def _swept(self) -> None:
        """See which slots may go on: their learn window is over, or no flow is remembered for them."""
        transitions = self.forwarding.transitions
        end = transitions.next_end()
        if transitions.without_flows or (end is not None and end <= time.monotonic()):
            self._wake.set()
        self.flows_counted()

    def _suspect(self, key: Key, cause: str) -> None:
        if self.checks.watch.suspect(key, cause):
            log_suspicion(log, key, cause)

    def _carry(self, totals: Totals) -> None:
        """Keep the totals of tables that go."""
        for identity, traffic in totals[0].items():
            self.kept.traffic[identity] = self.kept.traffic.get(identity, Traffic()) + traffic
        for reason, packets in totals[1].items():
            self.kept.verdicts[reason] = self.kept.verdicts.get(reason, 0) + packets
        self.save()

    def save(self) -> None:
        """Write the state; a full disk is told and must not stop anything."""
        try:
            self.saving.now()
            self._saved(None)
        except DaemonError as error:
            self._saved(error)

    def _saved(self, error: DaemonError | None) -> None:
        if error and not self._unsaved:
            log_event(log, logging.ERROR, "state_unsaved", str(error))
        self._unsaved = str(error) if error else ""

    def _state(self) -> state.Kept:
        """Return what has to be kept now."""
        if not self._following:  # what was kept is still all that is known
            return self.kept
        if self._placed_of is not self.kept.overrides:
            self._placed_of = self.kept.overrides
            backends = keys_of(self.config.services, self.kept.overrides)
            self.kept.places = {(service.name, backend.name): str(backend.address) for service, backend in backends}
        self.kept.checks = self.checks.watch.memories
        return self.kept

    # --- another configuration ------------------------------------------------------------------------------

    def secret_of(self, config: Config) -> str:
        """Return the key of the hash. Raises DaemonError."""
        return config.balancer.hash_key or state.hash_key(self.name)

    def wanted(self) -> Wanted:
        """Return the configuration in force, and what follows from it."""
        return Wanted(self.config, self.lists, self._secret, dict(self.network.interfaces))

    def put(self, wanted: Wanted) -> None:
        """Go by a configuration from the next reconcile on; `reload` knows what else has to follow."""
        self.config, self.lists, self._secret = wanted.config, wanted.lists, wanted.secret
        self.configured = {service.name: service for service in wanted.config.services}
        self.schedule.take_up(wanted.config)
        self._specs = self._placed_of = None
        self._gone = True
        self.admin_changed()

    def spec(self) -> Spec:
        """Return what must be compiled in for the services as they are, in the tables that there are."""
        return self._spec(self.forwarding.kernel.spec)

    def _spec(self, known: Spec | None) -> Spec:
        """Return that, in tables as they are if known."""
        overrides, words = self.kept.overrides, self.lists.words(self.config.guard.max_prefixes)
        mtus, vlans = [nic.mtu for nic in self.network.nics], self.network.tagged
        made_of = known, overrides.added, overrides.removed, mtus, vlans, words, self.tracing.wanted
        if self._specs is None or self._specs[0] != made_of:
            self._specs = made_of, self.spec_of(self.config, overrides, known, self.lists)
        return self._specs[1]

    def spec_of(self, config: Config, overrides: Overrides, known: Spec | None, lists: Lists) -> Spec:
        """Return what must be compiled in for another configuration, other changes, other lists. Raises DaemonError."""
        key = hashing.key_from(self._secret if config is self.config else self.secret_of(config))
        mtus, words = [nic.mtu for nic in self.network.nics], lists.words(config.guard.max_prefixes)
        services = services_of(config, overrides)
        trace = self.tracing.wanted
        return spec_for(config, services, key, known, next_seed(0), mtus, self.network.tagged, words, trace)

    def follow(self) -> None:
        self.checks.follow(keys_of(self.config.services, self.kept.overrides))

    # --- those that leave -----------------------------------------------------------------------------------

    @property
    def flows(self) -> Flows:
        """What is known of the backends' flows now."""
        return Flows(self.sweeper, self._count_slots)

    def _count_slots(self) -> SlotCounts:
        if self._slots is None:
            self._slots = count_slots(self.forwarding.kernel.tables())
        return self._slots

    async def count_slots(self) -> SlotCounts:
        """Do the same with a turn for everybody else in between; slots that change meanwhile are counted anew."""
        for _ in range(COUNTS):
            kernel, writes = self.forwarding.kernel, self.counted.writes
            steps = counting_slots(kernel.tables())
            while self._slots is None and (kernel, writes) == (self.forwarding.kernel, self.counted.writes):
                try:
                    next(steps)
                except StopIteration as end:
                    self._slots = end.value
                else:
                    await asyncio.sleep(0)
        return self._count_slots()

    def flows_counted(self) -> None:
        """Look whether removals are over, now that slots or remembered flows are others."""
        if removals_over(self.kept.overrides, self.services, self.flows, time.time()):
            self._wake.set()

    def _finish_removals(self) -> bool:
        """Take off those whose removal is over; tell whether there were any."""
        over = removals_over(self.kept.overrides, self.services, self.flows, time.time())
        if over:
            overrides = self.kept.overrides.copy()
            drop_backends(self.config, overrides, over)
            self.kept.overrides = overrides
        for (service, name), why in over.items():
            text = f"{service}/{name} removed: {why}"
            log_event(log, logging.INFO, "backend_removed", text, service=service, backend=name, cause=why)
        return bool(over)

    def departures(self, keys: Sequence[Key]) -> list[dict[str, Any]]:
        """Return how far the leaving of these backends is."""
        now = time.time()
        there = backends_of(self.services, keys)
        return [departure(service, b, self.kept.overrides, self.flows, now) for service, b in there]

    def breaks(self, keys: Sequence[Key]) -> dict[Key, dict[str, Any]]:
        """Return what breaks when these backends go now."""
        return {(s.name, b.backend.name): breaks(s, b, self.flows) for s, b in backends_of(self.services, keys)}

    async def plan(
        self, config: Config, overrides: Overrides, measure_s: float = 0.0, lists: Lists | None = None
    ) -> dict[str, Any]:
        """Return what another configuration or other changes would do: see `planning`. Raises KernelError."""
        return await plan_change(self, config, overrides, measure_s, lists)

    async def explain(self, frames: Sequence[bytes], interface: str | None) -> list[dict[str, Any]]:
        """Return what would become of frames; nothing is changed. Raises ConfigError, KernelError."""
        names = names_of(self.services, self.lists.longest)
        if self._idle:
            self._idle.cancel()
        try:
            return await asyncio.to_thread(self.explainer.explain, frames, interface, names)
        finally:
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.explainer.close)

    # --- what operators do and see --------------------------------------------------------------------------

    async def change(self, overrides: Overrides) -> int:
        """Take up changed overrides: save them first, look for what is new, reconcile; return entries written.

        Raises DaemonError, and then nothing was changed.
        """
        before, self.kept.overrides = self.kept.overrides, overrides
        try:
            self.saving.now()
        except DaemonError:
            self.kept.overrides = before
            raise
        members = (before.added, before.removed) != (overrides.added, overrides.removed)
        if members:
            await self.network.find_more(b.address for backends in overrides.added.values() for b in backends)
            self._gone = True
        written = self.counted.writes
        await self.reconcile()
        if members:
            self.follow()  # now that their ways are known
        waited = await self.checks.watch.wait_first(PROBE_WAIT_S)
        if waited or self._wake.is_set() or self.turn.locked():  # a first result is in, or is being written
            await self.reconcile()
        return self.counted.writes - written

    @property
    def revision(self) -> str:
        """What is wanted now, as a short text: another one when the configuration or an operator's change is."""
        return self.running.revision

    async def confirm(self) -> bool:
        """Have what was attached stay; False: that is so already. Raises DaemonError when it is too late."""
        async with self.turn:
            waited = self.forwarding.trial is not None
            await self.forwarding.confirm()
        return self.running.confirm() or waited

    async def guard(self, changes: dict[str, str | None]) -> None:
        """Take up changes of the guard's lists: "block", "allow" or None by prefix. Raises DaemonError: none was."""
        before, lists = self.kept.overrides, self.lists
        after = before.copy()
        after.prefixes |= changes
        self.kept.overrides = after
        try:
            self.saving.now()
        except DaemonError:
            self.kept.overrides = before
            raise
        async with self.turn:
            for text, verdict in changes.items():
                lists.put(parse_prefix(text), verdict)
            try:
                if not self.forwarding.change_lists(changes):
                    await self._guard()
            except (KernelError, OSError) as error:
                raise DaemonError(f"the change is kept but not in the kernel yet: {error}") from None

    async def _guard(self) -> None:
        """Make the kernel's lists what they should be, with room for them compiled in. Raises KernelError."""
        await self.forwarding.guard(self.lists, self.spec(), self.services)

    async def status(self) -> dict[str, Any]:
        """Return the status document."""
        document, traffic = await self.summary()  # without `await` after it: a reconcile may replace the tables
        found = self.services, traffic, self._count_slots(), self.sweeper.counts(), self.checks.watch.document
        return {**document, "services": services_document(*found)}

    async def summary(self) -> tuple[dict[str, Any], Mapping[int, Traffic]]:
        """Return the status document but for its services, and their traffic by identity."""
        interfaces = [await self._interface_document(*item) for item in self.forwarding.interfaces.items()]
        kernel, traffic = self.forwarding.kernel, self.traffic()
        document = {
            "version": __version__,
            "name": self.name,
            "pid": os.getpid(),
            "now": time.time(),
            "started": self._began,
            "booted": time.time() - boot_time(),
            "config": self.running.status(),
            "interface": interfaces[0],
            "interfaces": interfaces,
            "reconcile": asdict(self.last),
            "start": asdict(self.started or self.last),
            "warnings": self.warnings(),
            "unconfirmed": self._trial_document(),
            "forwarded": forwarded_document(traffic),
            "verdicts": self.verdicts(),
            "spared": {r: n + self.kept.verdicts.get(r, 0) for r, n in kernel.spared().items()},
            "guard": self._guard_document(),
            "flows": self._flows_document(),
            "probes": self.checks.counters(),
        }
        return document, traffic

    def traffic(self) -> dict[int, Traffic]:
        """Return what was forwarded, by identity, also of tables that are gone."""
        kept, now = self.kept.traffic, self.forwarding.kernel.traffic()
        return {
            **kept,
            **{identity: kept[identity] + sent if identity in kept else sent for identity, sent in now.items()},
        }

    def verdicts(self) -> dict[str, int]:
        """Return packets by reason, also of tables that are gone."""
        return {r: n + self.kept.verdicts.get(r, 0) for r, n in self.forwarding.kernel.verdicts().items()}

    def _flows_document(self) -> dict[str, Any]:
        kernel = self.forwarding.kernel
        room = kernel.spec.capacity.flows // 2
        return {"remembered": sum(self.sweeper.counts().values()), "room": room, "format": CONSTANTS["FLOWS_FORMAT"]}

    def _trial_document(self) -> dict[str, Any] | None:
        trial = self.forwarding.trial
        if trial is None:
            return self.running.unconfirmed()
        return {"left_s": trial.left_s, "then": trial.threat, "failures": self.proof.failures if self.proof else []}

    def _guard_document(self) -> dict[str, Any]:
        table = self.forwarding.prefixes
        return {
            "blocked": len(self.lists.blocked),
            "allowed": len(self.lists.allowed),
            "words": table.words_used if table else 0,
            "room": self.forwarding.kernel.spec.capacity.spans,
        }

    async def _interface_document(self, name: str, index: int) -> dict[str, Any]:
        try:
            nic = await read_nic(index)
        except KernelError:
            return NO_NIC | {"name": name, "error": f"{name} has vanished"}
        attached = loader.attached(self.place, nic.index)
        return {
            "name": nic.name,
            "index": nic.index,
            "mode": nic.xdp_mode,
            "program_id": attached.program_id if attached else None,
            "link_id": attached.link_id if attached else None,
            "driver": nic.driver,
            "mtu": nic.mtu,
            "up": nic.up,
            "carrier": nic.carrier,
            "rx_packets": nic.rx_packets,
            "tx_packets": nic.tx_packets,
            "xdp_tx_errors": tx_errors(nic.name),
            "compiled": self.forwarding.kernel.spec.features(),
            "map_bytes": self.forwarding.kernel.map_bytes,
            "layout": self.forwarding.kernel.pinned.folder.name,
            "code": self.forwarding.kernel.pinned.program.name.removeprefix("program_"),
        }


def _report(task: asyncio.Task[None]) -> None:
    """What looks for ever ends with the daemon; by itself it does only for a bug: say so loudly."""
    if not task.cancelled() and (error := task.exception()):
        log_bug(log, "flows or evidence are not looked at any more", error)
