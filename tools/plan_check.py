"""Does a change come to what its plan said? `python -m tools.plan_check [--changes 1000] [--seed N]`.

Random changes of configurations and run-time changes are planned, then made as the daemon makes them, on the fake's
tables; slots that move, entries that are written, and the tables themselves must be what was predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random
from typing import Any

import click

from xdplb.carry import only_real, transplant
from xdplb.dataplane.fake import Fake
from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredService, Health, Hop, Memo, Overrides, desire, services_of
from xdplb.features import spec_for
from xdplb.model import Affinity, Backend, Balancer, Config, Forward, Limits, Protocol, Rate, Service, Vip
from xdplb.operators import add_backend, drain_backend, remove_backend, undrain_backend, weigh_backend
from xdplb.plan import Facts, moved_slots, owners, plan
from xdplb.reconcile import Memo as Rings
from xdplb.reconcile import NoRoom, reconcile
from xdplb.room import doubled, roomier
from xdplb.tables import Change, Tables, entries_written
from xdplb.transitions import Transitions

KEY = 0x0FEDCBA987654321
HOPS = {v: Hop(7, bytes(6), bytes(6), ip_address("10.0.2.2" if v == 4 else "fd00:2::2"), 1600) for v in (4, 6)}


class Uncounted:
    """Nobody has counted any flow."""

    def flows_left(self, identity: int) -> int | None:
        """None: not counted."""
        return None

    def busy(self, identity: int) -> bool:
        """Nobody is."""
        return False


@dataclass(slots=True)
class World:
    """What is wanted, and who is down."""

    rng: Random
    config: Config
    overrides: Overrides = field(default_factory=Overrides)
    down: set[tuple[str, str]] = field(default_factory=set)
    memo: Memo = field(default_factory=Memo)
    number: int = 0

    def services(self, memo: Memo | None) -> tuple[DesiredService, ...]:
        """Return the desired state."""
        services = services_of(self.config, self.overrides)
        hops = {b.address: HOPS[b.address.version] for s in services for b in s.backends}
        health = {(s.name, b.name): Health((s.name, b.name) not in self.down, "") for s in services for b in s.backends}
        return desire(self.config, self.overrides, health, hops, memo)

    def spec(self, known: Spec) -> Spec:
        """Return what has to be compiled in."""
        return spec_for(self.config, services_of(self.config, self.overrides), KEY, known, known.seed)

    def change(self) -> None:
        """Change one to three things."""
        self.overrides = self.overrides.copy()
        for _ in range(self.rng.choice((1, 1, 2, 3))):
            self.rng.choice((self._file, self._file, self.operate, self.operate, self._check))()

    def _check(self) -> None:
        self.down ^= {self.rng.choice([(s.name, b.name) for s, b in self._backends()] or [("", "")])}

    def _backends(self) -> Iterator[tuple[Service, Backend]]:
        return ((s, b) for s in self.config.services for b in self.overrides.apply(s).backends)

    def _new_backend(self) -> Backend:
        self.number += 1
        n, weight = self.number, self.rng.choice((1, 50, 100, 100, 300))
        text = f"fd00:99::{n:x}" if self.rng.random() < 0.3 else f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
        return Backend(f"n{n}", ip_address(text), weight)

    def operate(self) -> None:
        """Do what an operator does at run time."""
        there = list(self._backends())
        if not there or self.rng.random() < 0.3:
            add_backend(self.config, self.overrides, self.rng.choice(self.config.services).name, self._new_backend())
            return
        service, backend = self.rng.choice(there)
        where = (self.config, self.overrides, backend.name, service.name)
        what = self.rng.choice((drain_backend, undrain_backend, remove_backend))
        if self.rng.random() < 0.4:
            weigh_backend(*where, self.rng.choice((0, 1, 70, 100, 900)))
        elif what is not drain_backend or (service.name, backend.name) not in self.overrides.removing:
            what(*where)

    def _file(self) -> None:
        """Change what stands in the file."""
        services = list(self.config.services)
        at, kind = self.rng.randrange(len(services)), self.rng.random()
        if kind < 0.15 and len(services) < 8:
            services.append(self.new_service())
        elif kind < 0.25 and len(services) > 1:
            del services[at]
        elif kind < 0.5:
            services[at] = replace(services[at], backends=tuple(self._some(services[at].backends)))
        else:
            services[at] = self._set(services[at])
        balancer = self.config.balancer
        if self.rng.random() < 0.1:
            balancer = replace(balancer, mtu=self.rng.choice((None, 1400, 1500)))
        if self.rng.random() < 0.05:
            balancer = replace(balancer, max_flows=self.rng.choice((1 << 14, 1 << 17)))
        self.config = Config(balancer, tuple(services))

    def _some(self, backends: tuple[Backend, ...]) -> list[Backend]:
        kept = [b for b in backends if self.rng.random() < 0.8]
        return [*kept, *(self._new_backend() for _ in range(self.rng.choice((0, 1, 2))))]

    def _set(self, service: Service) -> Service:
        rng = self.rng
        settings: list[dict[str, Any]] = [
            {"ring_size": rng.choice((None, 64, 512, 1 << 14))},
            {"forward": rng.choice((Forward.IPIP, Forward.GUE))},
            {"affinity": rng.choice((Affinity.FLOW, Affinity.CLIENT))},
            {"limits": rng.choice((None, Limits(Rate(rng.randrange(1, 9000), 100))))},
            {"learn_window_s": rng.choice((0.0, 120.0))},
            {"vips": (*service.vips[:1], *self._more_vips())},
            {"panic_percent": rng.choice((0.0, 50.0))},
        ]
        return replace(service, **rng.choice(settings))

    def _more_vips(self) -> list[Vip]:
        self.number += 1
        address = ip_address((192 << 24) + (2 << 8) + self.number)
        return [Vip(address, 80)] if self.rng.random() < 0.7 else [Vip(address, 8000, Protocol.TCP, 8999)]

    def new_service(self) -> Service:
        """Return a service with a VIP of its own and some backends."""
        self.number += 1
        vip = Vip(ip_address(f"198.51.{self.number >> 8 & 255}.{self.number & 255}"), 80)
        backends = tuple(self._new_backend() for _ in range(self.rng.randrange(0, 6)))
        return Service(f"s{self.number}", (vip,), backends, ring_size=self.rng.choice((None, None, 256)))


class Balancing:
    """Tables under the daemon's rules: `Forwarding.write`, on the fake."""

    def __init__(self, spec: Spec) -> None:
        self.fake, self.rings, self.transitions, self.written = Fake(spec), Rings(), Transitions(), 0

    def tables(self) -> Tables:
        """Return a copy of the tables."""
        return self.fake.tables()

    def write(self, services: tuple[DesiredService, ...], wanted: Spec) -> None:
        """Make the tables what is desired."""
        self._become(self.fake.spec.union(wanted), services)
        try:
            changes = self._changes(services, self.tables(), self.rings)
        except NoRoom:
            self._grow(services)
            changes = self._changes(services, self.tables(), self.rings)
        self._apply(changes)
        self.transitions.note(changes, services, 0.0)
        capacity = replace(self.fake.spec.capacity, flows=wanted.capacity.flows)
        self._become(replace(wanted, capacity=capacity, seed=self.fake.spec.seed), services)

    def _changes(self, services: tuple[DesiredService, ...], tables: Tables, rings: Rings) -> list[Change]:
        spec, held = self.fake.spec, frozenset(self.transitions.held)
        return only_real(reconcile(services, replace(tables, held=held), spec.capacity, spec.seed, None, rings))

    def _apply(self, changes: list[Change]) -> None:
        self.fake.apply(changes)
        self.written += entries_written(changes)

    def _grow(self, services: tuple[DesiredService, ...]) -> None:
        spec = roomier(self.fake.spec, services)
        while True:
            spec = doubled(spec) if spec == self.fake.spec else spec
            try:
                return self._become(spec, services)
            except NoRoom:
                spec = doubled(spec)

    def _become(self, spec: Spec, services: tuple[DesiredService, ...]) -> None:
        old = self.fake
        if spec.sizes() == old.spec.sizes():
            old.spec = spec
            return
        puts, carried = transplant(old.tables())
        self.fake = Fake(spec)
        try:
            changes = self._changes(services, carried, Rings())
        except NoRoom:
            self.fake = old
            raise
        self.rings = Rings()
        self._apply(puts)
        self._apply(changes)


def check(changes: int, seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield of each change what was predicted and what came of it."""
    rng = Random(seed)
    world = World(rng, Config(Balancer(("eth0",)), ()))
    world.config = Config(world.config.balancer, (world.new_service(), world.new_service()))
    balancing = Balancing(world.spec(Spec(spec_for(world.config, (), KEY, None, 1).capacity, 1, KEY)))
    balancing.write(world.services(world.memo), world.spec(balancing.fake.spec))
    before = world.services(world.memo)
    for _ in range(changes):
        world.change()
        spec, tables = balancing.fake.spec, balancing.tables()
        held = frozenset(balancing.transitions.held)
        said = plan(before, world.services(None), tables, spec, Uncounted(), world.spec(spec), Facts(held))
        written = balancing.written
        before = world.services(world.memo)
        balancing.write(before, world.spec(spec))
        yield predicted(said), measured(before, tables, balancing, spec, balancing.written - written)


def predicted(said: dict[str, Any]) -> dict[str, Any]:
    """Return of a plan what can be measured."""
    moved = {s["name"]: s["slots_moved"] for s in said["services"] if s["change"] != "removed"}
    program = said["program"]
    return {
        "writes": said["writes"],
        "moved": moved,
        "anew": program["tables_made_anew"],
        "in": program["compiled_in"],
        "out": program["compiled_out"],
    }


def measured(
    services: tuple[DesiredService, ...], tables: Tables, balancing: Balancing, spec: Spec, writes: int
) -> dict[str, Any]:
    """Return what a change came to."""
    old, new, has = owners(tables), owners(balancing.tables()), balancing.fake.spec
    moved = {s.name: len(moved_slots(old.get(s.identity, []), new[s.identity])) for s in services}
    return {
        "writes": writes,
        "moved": moved,
        "anew": has.sizes() != spec.sizes(),
        "in": [name for name in has.features() if name not in spec.features()],
        "out": [name for name in spec.features() if name not in has.features()],
    }


@click.command()
@click.option("--changes", default=1000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(changes: int, seed: int) -> None:
    """Make random changes and compare each with its plan."""
    wrong = moved = writes = anew = 0
    for number, (said, came) in enumerate(check(changes, seed)):
        moved, writes, anew = moved + sum(came["moved"].values()), writes + came["writes"], anew + came["anew"]
        if said != came:
            wrong += 1
            click.echo(f"change {number} of seed {seed}:\n  predicted {said}\n  measured  {came}")
    click.echo(f"{changes:,} changes, {wrong} not as planned; {moved:,} slots, {writes:,} entries, {anew} new tables")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
