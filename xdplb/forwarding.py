"""The program on the interface and its tables as one thing: start, write, grow, swap, without losing a packet.

Nothing is decided here about services; this file knows in which order programs, tables and the interface change.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from xdplb import __version__
from xdplb.carry import copy_flows, only_real, room_for, transplant
from xdplb.dataplane import loader
from xdplb.dataplane.kernel import Kernel, request_for
from xdplb.dataplane.plane import Spec, spec_from
from xdplb.dataplane.syscall import program_by_id
from xdplb.desired import DesiredService
from xdplb.errors import KernelError, RefusedError, XdplbError
from xdplb.guard import Lists, change_table
from xdplb.links import Numbers
from xdplb.logs import log_event
from xdplb.model import Mode
from xdplb.net import Nic, interface_exists, read_nic, take_xdp_off
from xdplb.prefixes import NoRoom as Full
from xdplb.prefixes import Prefixes
from xdplb.reconcile import Memo, NoRoom, find_few_news, follow, reconcile
from xdplb.room import SEEDS, doubled, roomier
from xdplb.slots import Ended
from xdplb.sweep import Clock, backends_named
from xdplb.tables import Change, ClearBackend, Tables, Traffic, entries_written
from xdplb.transitions import Transitions
from xdplb.trial import Trial

log = logging.getLogger("xdplb")

Totals = tuple[dict[int, Traffic], dict[str, int]]

QUIET_S = 0.05  # after a swap, until no CPU runs the old program any more


class Forwarding:
    """One balancer program on its interfaces. `carry` is called with the counters of tables that go."""

    def __init__(self, place: loader.Place, interfaces: Numbers, mode: Mode) -> None:
        """`interfaces` are looked at anew each time: their numbers change."""
        self.place, self.interfaces, self.mode = place, interfaces, mode
        self.carry: Callable[[Totals], None] = lambda totals: None
        self.swapped: Callable[[Kernel], None] = lambda kernel: None  # called with each program that replaced another
        self._kernel: Kernel | None = None
        self._old: Kernel | None = None  # tables that are still in use, when the new ones have been made at a start
        self._carried: Tables | None = None  # what new tables are taken for until they have been written
        self._memo = Memo()  # what lies in the kernel
        self.services: Sequence[DesiredService] = ()  # as they were last written
        self.transitions = Transitions()
        self.lists: Lists | None = None  # what the guard's table should say
        self.prefixes: Prefixes | None = None  # that table
        self.trial: Trial | None = None  # what is attached may have to be taken back
        self.written = 0  # map entries, those of new tables too

    @property
    def kernel(self) -> Kernel:
        """The program and its tables, from `load` on."""
        assert self._kernel is not None
        return self._kernel

    # --- start ----------------------------------------------------------------------------------------------

    async def make_way(self, replace_other: bool) -> None:
        """Refuse an interface with somebody else's XDP program, or take it off when told to. Raises RefusedError."""
        for index in self.interfaces.values():
            await self._make_way(index, replace_other)

    async def refuse_other(self, index: int) -> None:
        """Refuse an interface that may be attached to when it has somebody else's program. Raises RefusedError."""
        await self._make_way(index, replace_other=False)

    async def _make_way(self, index: int, replace_other: bool) -> None:
        nic = await read_nic(index)
        ours = loader.attached(self.place, index)
        if ours is not None and nic.xdp_mode != self.mode:
            text = f"{nic.name}: moving from {nic.xdp_mode} to {self.mode} mode"
            facts = {"was": nic.xdp_mode, "mode": self.mode}
            log_event(log, logging.WARNING, "mode_changed", text, interface=nic.name, **facts)
            loader.detach(self.place)
        elif ours is None and nic.program_id is not None:
            other = f"{nic.name} has another XDP program: id {nic.program_id}, name {_name_of(nic.program_id)!r}"
            if not replace_other:
                raise RefusedError(f"{other}; give --replace to take it off")
            log_event(log, logging.WARNING, "program_taken_off", f"{other}; taking it off", interface=nic.name)
            if not loader.force_off(nic.program_id, nic.index):
                await take_xdp_off(nic.index, nic.xdp_mode or Mode.NATIVE)

    def known_spec(self) -> Spec | None:
        """Return the spec of the tables that are pinned, so that they are found again."""
        try:
            return spec_from(self._current()["spec"])
        except (ValueError, KeyError, TypeError):
            return None

    def _current(self) -> dict[str, Any]:
        """Return what was written of the tables that are in use."""
        with contextlib.suppress(OSError, ValueError):
            raw = json.loads((self.place.run / "spec.json").read_text())
            if isinstance(raw, dict):
                return raw
        return {}

    async def load(self, spec: Spec, forget: bool = False) -> bool:
        """Adopt or compile; tell whether it was adopted. Raises KernelError; RefusedError, unless told to `forget`.

        When the tables in use are of another layout, the first `write` carries over what must not be lost of them.
        """
        known, attached = self.known_spec(), self.attached()
        old = self._open_old(known or spec, forget) if attached else None
        if known and known.sizes() == spec.sizes() and attached:
            # The tables may still hold what the new configuration does without; but who traced is gone.
            spec = replace(known.union(spec), trace=False)
        elif old:
            spec = replace(spec, capacity=spec.capacity.union(room_for(old.tables())))
        self._kernel = await asyncio.to_thread(Kernel.load, self.place, spec, old)
        self._kernel.put_devices(self._devices())
        self._kernel.stamp = self._kernel.stamp or Clock().word  # a flow without a time would never be over
        if old and old.pinned.folder != self._kernel.pinned.folder:
            self._old = old
            self._transplant(old, self._kernel)
        elif old:
            old.close()
        tables = self._carried or self._kernel.tables()
        self.transitions.held = backends_named(self._kernel.flows) - tables.backends.keys()
        return self._kernel.pinned.adopted

    def _open_old(self, spec: Spec, forget: bool) -> Kernel | None:
        """Return the tables of the program that is attached; None when nobody can know. Raises RefusedError."""
        current = self._current()
        if not current:
            text = "it is not known which tables the attached program has; flows of changed slots may break"
            log_event(log, logging.WARNING, "tables_unknown", text)
            return None
        version = current.get("version", "0.1.0")
        try:
            pinned = loader.find(self.place, current.get("layout", ""))
            if pinned:
                flows = pinned.maps["flows"]["entries"]
                return Kernel(replace(spec, capacity=replace(spec.capacity, flows=flows)), pinned)
            why = f"its flows and slots are not of format {loader.FORMAT}"
        except (XdplbError, LookupError, AttributeError, ValueError, OSError) as error:
            why = str(error)
        found = f"the program that is attached was loaded by xdplb {version}, and this is {__version__}: {why}"
        if not forget:
            fix = "let slots settle first (`xdplb status` of that version), and give --replace to go on without it"
            raise RefusedError(f"{found}; flows of slots that are not settled would break; {fix}")
        text = f"{found}; flows of slots that were not settled may break"
        log_event(log, logging.WARNING, "tables_unknown", text)
        return None

    def _transplant(self, old: Kernel, new: Kernel) -> None:
        """Write into empty tables what must not be lost; from then on they are taken for the old ones."""
        puts, self._carried = transplant(self._carried or old.tables())
        new.apply(puts)
        self.written += entries_written(puts)
        new.stamp = new.stamp or old.stamp
        self._copy_flows(old, new)

    def _copy_flows(self, old: Kernel, new: Kernel) -> None:
        if not new.shares_flows(old) and (lost := copy_flows(old.flows, new.flows)):
            text = f"{lost} remembered flows found no place in the new tables"
            log_event(log, logging.WARNING, "flows_lost", text, flows=lost)

    async def guard(self, lists: Lists, wanted: Spec, services: Sequence[DesiredService]) -> None:
        """Make the guard's table say this, compiled in and with room for it. Raises KernelError."""
        self.lists, folder = lists, self.kernel.pinned.folder
        await self.become(self.kernel.spec.union(wanted), services)
        if self.kernel.pinned.folder != folder or not (self.kernel.spec.prefixes or self.prefixes):
            return  # new tables are made full
        table = self.prefixes or _table_of(self.kernel)
        self.prefixes = None  # unless it says all of this, nobody may go on from it
        table.release(time.monotonic())
        try:
            await asyncio.to_thread(table.load, lists.blocked, lists.allowed)
            self.prefixes = table
        except Full as reason:
            await self._make_room(str(reason), services)

    async def _make_room(self, reason: str, services: Sequence[DesiredService]) -> None:
        """Go on in tables with twice the room for the guard's lists, and twice again as long as that is too little."""
        spans = self.kernel.spec.capacity.spans
        while self.prefixes is None:
            spans *= 2
            _log_growth(reason)
            with contextlib.suppress(Full):
                capacity = replace(self.kernel.spec.capacity, spans=spans)
                await self.become(replace(self.kernel.spec, capacity=capacity), services)

    def change_lists(self, changes: Mapping[str, str | None]) -> bool:
        """Change single prefixes in the guard's table; False: it is not in a state to be changed, or has no room."""
        table = self.prefixes
        if table is None or not self.kernel.spec.prefixes:
            return False
        self.prefixes = None
        table.release(time.monotonic())
        try:
            for text, verdict in changes.items():
                change_table(table, text, verdict)
        except Full:
            return False
        self.prefixes = table
        return True

    def attached(self) -> bool:
        """Whether our program is on any interface."""
        return any(loader.attached(self.place, index) for index in self.interfaces.values())

    def present(self) -> dict[str, int]:
        """Return the interfaces that there are: when one vanishes, the others go on."""
        return {name: index for name, index in self.interfaces.items() if interface_exists(index)}

    def _devices(self) -> list[int]:
        present = self.present()
        return [present.get(name, 0) for name in self.interfaces]

    async def attach(self) -> list[Nic]:
        """Attach, or replace what we attached before; never in another mode than asked. Raises KernelError."""
        nics = []
        for name, index in self.present().items():
            self._put_on(self.kernel.pinned, name, index)
            nics.append(nic := await read_nic(index))
            if nic.xdp_mode != self.mode:
                loader.detach(self.place)
                got = f"asked for XDP in {self.mode} mode and got {nic.xdp_mode}"
                raise KernelError(f"{nic.name}: {got}; nothing is attached")
        loader.detach_others(self.place, self.interfaces.values())
        if self._old:
            old, self._old = self._old, None
            await self._leave(old)
        self._tidy()
        return nics

    async def _leave(self, old: Kernel) -> None:
        """Give up tables that no packet sees any more; what the last ones left there is carried on."""
        await asyncio.sleep(QUIET_S)
        self._copy_flows(old, self.kernel)
        self.carry((old.traffic(), old.verdicts() | old.spared()))
        old.close()

    async def prepare(self, wanted: Spec) -> None:
        """Have the program for this loaded beside the one in use: `become` then takes no time. Raises KernelError."""
        spec = self.kernel.spec.union(wanted)
        if spec != self.kernel.spec:
            (await asyncio.to_thread(Kernel.load, self.place, spec, self.kernel)).close()

    def copy_tables(self) -> Tables:
        """Return the tables as they are now, also when they change later."""
        tables = self.kernel.tables()
        return replace(tables, slots=tables.slots[:])

    def put_devices(self) -> None:
        """Tell the program which interfaces are meant by the numbers in backends' rows."""
        self.kernel.put_devices(self._devices())

    def follow(self) -> None:
        """Take up that interfaces came or went: the program knows them by `devices`, and those left are let go."""
        self.put_devices()
        loader.detach_others(self.place, self.interfaces.values())

    def attach_again(self, name: str, index: int) -> None:
        """Attach to one interface that has lost its program, or is new. Raises KernelError."""
        self._put_on(self.kernel.pinned, name, index)

    def _put_on(self, pinned: loader.Pinned, name: str, index: int) -> None:
        if self.trial:
            self.trial.attaching()
        loader.attach(self.place, pinned, name, index, self.mode)

    async def confirm(self) -> None:
        """Have what is attached stay, and forget what was before. Raises DaemonError when it is too late."""
        if self.trial:
            await self.trial.confirm()
            self.trial = None
            self._tidy()

    def forget_prepared(self) -> None:
        """Remove what was prepared and is not used."""
        self._tidy()

    def _tidy(self) -> None:
        if self.trial is None:
            # The program that does not trace stays at hand: it is back at once, also after the death of this daemon.
            plain = request_for(replace(self.kernel.spec, trace=False)).code if self.kernel.spec.trace else ""
            loader.forget_others(self.place, self.kernel.pinned, plain)
        current = {"version": __version__, "layout": self.kernel.pinned.folder.name, "spec": asdict(self.kernel.spec)}
        (self.place.run / "spec.json").write_text(json.dumps(current))

    # --- write and swap -------------------------------------------------------------------------------------

    async def write(self, services: Sequence[DesiredService], wanted: Spec) -> list[Change]:
        """Make the tables equal to what is desired, let slots go on; return what was changed. Raises KernelError."""
        await self.become(self.kernel.spec.union(wanted), services)  # compiled in before it is used,
        memo, self._memo = self._memo, Memo()  # given back when all went well
        try:
            changes = await self._changes(services, self.kernel, self.transitions.ended(time.monotonic()), memo)
        except NoRoom as reason:
            await self._grow(str(reason), services)
            memo = Memo()
            changes = await self._changes(services, self.kernel, {}, memo)
        self._apply(changes)
        self._memo, self._carried = memo, None
        self.transitions.note(changes, services, time.monotonic())
        self.services = services
        kept = self.kernel.spec  # room that was needed once stays; flows alone have the room that is configured
        capacity = replace(kept.capacity, flows=wanted.capacity.flows)
        await self.become(replace(wanted, capacity=capacity, seed=kept.seed), services)  # out after its use
        return changes

    async def _grow(self, reason: str, services: Sequence[DesiredService]) -> None:
        """Go on in larger tables, or such with another seed; in still larger ones, when the old ones do not fit in."""
        spec = await asyncio.to_thread(roomier, self.kernel.spec, services)
        for _ in range(SEEDS):
            _log_growth(reason)
            if spec == self.kernel.spec:
                spec = doubled(spec)
            try:
                await self.become(spec, services)
                return
            except NoRoom as again:
                reason, spec = str(again), doubled(spec)
        raise KernelError(f"no tables are large enough: {reason}")

    def adopt_transitions(self, services: Sequence[DesiredService]) -> None:
        """Take over slots that are not settled, as they lie in the tables."""
        self.transitions.adopt(self.kernel.tables(), services, time.monotonic())

    def _apply(self, changes: Sequence[Change]) -> None:
        """Apply; the totals of backends that go are carried on after their last packet and before they go."""
        self.written += entries_written(changes)
        going = [change for change in changes if isinstance(change, ClearBackend)]
        self.kernel.apply([change for change in changes if not isinstance(change, ClearBackend)])
        if going:
            rows, traffic = self.kernel.tables().backends, self.kernel.traffic()
            identities = [rows[change.index].identity for change in going]
            self.carry(({identity: traffic[identity] for identity in identities}, {}))
        self.kernel.apply(going)

    async def _changes(
        self,
        services: Sequence[DesiredService],
        kernel: Kernel,
        ended: Mapping[int, Ended] | None = None,
        memo: Memo | None = None,
    ) -> list[Change]:
        """Reconcile, in a thread unless it takes no time: checks must not wait for large rings."""
        spec, tables = kernel.spec, replace(self._carried or kernel.tables(), held=frozenset(self.transitions.held))
        if memo and (news := find_few_news(services, ended or {}, memo)) is not None:
            return follow(services, news, tables, ended or {}, memo)
        return only_real(await asyncio.to_thread(reconcile, services, tables, spec.capacity, spec.seed, ended, memo))

    async def become(self, spec: Spec, services: Sequence[DesiredService]) -> None:
        """Swap the program, and the tables with it when their layout changes. Raises KernelError."""
        old = self.kernel
        if spec == old.spec:
            return
        new = await asyncio.to_thread(Kernel.load, self.place, spec, old)
        new.put_devices(self._devices())
        other_tables = new.pinned.folder != old.pinned.folder
        prefixes = None
        if other_tables:  # full before the first packet sees them
            prefixes = await self._fill(new, old, services)
        for name, index in self.present().items():
            if loader.attached(self.place, index):  # where it is not yet, or not any more, is the upkeep's to see
                self._put_on(new.pinned, name, index)
        self._kernel = new
        self.swapped(new)
        if other_tables:
            self.prefixes = prefixes
            self.adopt_transitions(services)
            await self._leave(old)
        else:
            old.close()
        self._tidy()
        features = ", ".join(spec.features())
        text = f"program swapped, compiled in: {features}"
        log_event(log, logging.INFO, "swap", text, features=features, tables="new" if other_tables else "kept")

    async def _fill(self, new: Kernel, old: Kernel, services: Sequence[DesiredService]) -> Prefixes | None:
        """Write new tables; return the guard's. Raises NoRoom and `Full`, and then everything is as before."""
        carried, self._memo = self._carried, Memo()
        try:
            prefixes = None
            if self.lists:
                prefixes = _table_of(new)
                await asyncio.to_thread(prefixes.load, self.lists.blocked, self.lists.allowed)
            self._transplant(old, new)
            changes = await self._changes(services, new)
            new.apply(changes)
            self.written += entries_written(changes)
        except BaseException:
            self._carried = carried
            new.close()
            raise
        self._copy_flows(old, new)
        self._carried = None
        return prefixes


def _log_growth(reason: str) -> None:
    log_event(log, logging.INFO, "new_tables", f"making new tables: {reason}", reason=reason)


def _table_of(kernel: Kernel) -> Prefixes:
    return Prefixes(kernel.words("prefix_roots"), kernel.words("prefix_spans"))


def _name_of(program_id: int) -> str:
    try:
        return program_by_id(program_id).name
    except OSError:
        return "unknown"
