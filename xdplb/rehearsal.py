"""Go through a change as `forwarding` will, on a copy of the tables: what is written, compiled and made anew. Pure.

The steps are those of `Forwarding.write`, by the same functions: compile in what is wanted, write, go on in larger
tables when there is no room, compile out what is not used any more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from xdplb.carry import only_real, transplant
from xdplb.dataplane.fake import Fake
from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredService
from xdplb.errors import KernelError
from xdplb.reconcile import NoRoom, reconcile
from xdplb.room import SEEDS, doubled, roomier
from xdplb.tables import Change, Tables, entries_written


@dataclass(slots=True)
class Rehearsal:
    """Tables under a program, and what has become of them so far. `held`: indexes that nobody may have."""

    spec: Spec
    tables: Tables
    held: Collection[int] = ()
    writes: int = 0
    remade: bool = False  # the tables are others
    recompiled: bool = False

    def write(self, services: Sequence[DesiredService], wanted: Spec) -> None:
        """Make the tables equal to what is desired, under a program that can do what is wanted. Raises KernelError."""
        self._become(self.spec.union(wanted), services)
        try:
            changes = self._changes(services, self.tables, self.spec)
        except NoRoom:
            self._grow(services)
            changes = self._changes(services, self.tables, self.spec)
        self._apply(changes)
        capacity = replace(self.spec.capacity, flows=wanted.capacity.flows)
        self._become(replace(wanted, capacity=capacity, seed=self.spec.seed), services)

    def _changes(self, services: Sequence[DesiredService], tables: Tables, spec: Spec) -> list[Change]:
        return only_real(reconcile(services, replace(tables, held=self.held), spec.capacity, spec.seed))

    def _apply(self, changes: Sequence[Change]) -> None:
        self.tables = _applied(self.tables, changes, self.spec)
        self.writes += entries_written(changes)

    def _become(self, spec: Spec, services: Sequence[DesiredService]) -> None:
        if spec == self.spec:
            return
        if spec.sizes() != self.spec.sizes():
            puts, carried = transplant(self.tables)
            changes = [*puts, *self._changes(services, carried, spec)]
            self.tables = _applied(Tables(slots=[0] * spec.capacity.slots), changes, spec)
            self.writes += entries_written(changes)
            self.remade = True
        self.spec, self.recompiled = spec, True

    def _grow(self, services: Sequence[DesiredService]) -> None:
        spec = roomier(self.spec, services)
        for _ in range(SEEDS):
            if spec == self.spec:
                spec = doubled(spec)
            try:
                self._become(spec, services)
                return
            except NoRoom:
                spec = doubled(spec)
        raise KernelError("no tables are large enough")


def _applied(tables: Tables, changes: Sequence[Change], spec: Spec) -> Tables:
    """Return what the changes make of tables, which stay as they are."""
    fake = Fake(spec, tables)
    fake.apply(changes)
    return fake.tables()
