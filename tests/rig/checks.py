"""Checks on a clock that jumps from event to event, and the ring that comes of their reports: all of it is real."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.rig.packets import hop
from tests.rig.xdp import SPEC
from xdplb.dataplane.fake import Fake
from xdplb.desired import DesiredService, Health, Key, Overrides, desire
from xdplb.health.check import Event, Probe, ProbeEnded, Report, RiseFall, Start
from xdplb.health.memory import memory_from_json, memory_to_json
from xdplb.model import Check, Config
from xdplb.reconcile import reconcile
from xdplb.slow_start import Ramps
from xdplb.tables import slot_parts

TOOK_S = 0.001  # a probe

Well = Callable[[float, RiseFall], bool]  # whether a probe at this time passes


@dataclass(frozen=True, slots=True)
class Turn:
    """A report, and when it came."""

    at: float
    up: bool
    cause: str


def drive(
    check: Check,
    well: Well,
    until: float,
    seed: int | None = 0,
    restarts: Iterable[float] = (),
    failure_took_s: float = TOOK_S,
) -> list[Turn]:
    """Return what a check reports until then, with the driver's jitter unless `seed` is None.

    At each of the restarts, it is made anew from its memory, as it stands in a file.
    """
    jitter, left = random.Random(seed), sorted(restarts)
    machine, turns, now, began = RiseFall(check), list[Turn](), 0.0, 0.0
    event: Event = Start()
    while True:
        effects = machine.handle(event, now)
        turns += [Turn(now, effect.up, effect.cause) for effect in effects if isinstance(effect, Report)]
        (wait_s,) = (effect.after_s for effect in effects if isinstance(effect, Probe))
        due = max(now, began + wait_s * (1 if seed is None else jitter.uniform(0.9, 1.1)))
        while left and now < left[0] < due:
            now = left.pop(0)
            machine, due = _restarted(machine, check, now, due)
        passed = well(due, machine)
        began, now = due, due + (TOOK_S if passed else failure_took_s)
        if now > until:
            return turns
        event = ProbeEnded(passed, "as it is")


def _restarted(machine: RiseFall, check: Check, now: float, due: float) -> tuple[RiseFall, float]:
    """Return another machine with the same memory, and when its next probe is due: at the same time."""
    memory = machine.memory and memory_from_json(json.loads(json.dumps(memory_to_json(machine.memory))))
    another = RiseFall(check)
    (whole,) = another.handle(Start(memory, spread=1.0), now)
    assert isinstance(whole, Probe)
    again = RiseFall(check)
    (probe,) = again.handle(Start(memory, (due - now) / whole.after_s), now)
    assert isinstance(probe, Probe)
    return again, now + probe.after_s


def one_hz(phase: float = 0.0) -> Well:
    """Well for half of every second."""
    return lambda now, _: (now + phase) % 1.0 < 0.5


def spiteful(now: float, machine: RiseFall) -> bool:
    """Pass until believed, then fail."""
    return not machine.up


@dataclass(slots=True)
class World:
    """Backends of a configuration, what is known of them, and the ring of the first service in tables of its own."""

    config: Config
    health: dict[Key, Health] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=Overrides)
    services: tuple[DesiredService, ...] = ()
    fake: Fake = field(default_factory=lambda: Fake(SPEC))
    ramps: Ramps = field(default_factory=lambda: Ramps({}))

    def __post_init__(self) -> None:
        self.ramps.lasts_s = {s.name: s.slow_start_s for s in self.config.services if s.slow_start_s}
        self.set({(s.name, b.name): True for s in self.config.services for b in s.backends})

    def set(self, states: Mapping[Key, bool | None], now: float = 0.0) -> int:
        """Take up what checks found; return how many slots have another backend then."""
        self.health |= {key: Health(up, "well" if up else "refused") for key, up in states.items()}
        return self.look(now)

    def look(self, now: float) -> int:
        """Make the tables right for this moment; return how many slots have another backend then."""
        before, owners = self.services, self.owners()
        hops = {b.address: hop(b.address.version) for s in self.config.services for b in s.backends}

        def wanted() -> tuple[DesiredService, ...]:
            return desire(self.config, self.overrides, self.health, hops, shares=self.ramps.shares(now))

        after = wanted()
        if self.ramps.follow(before, after, now):
            after = wanted()
        self.services = after
        self.fake.apply(reconcile(after, self.fake.tables(), SPEC.capacity, SPEC.seed))
        return sum(a != b for a, b in zip(owners, self.owners(), strict=True))

    def owners(self) -> list[str]:
        """The name of the backend of each slot, "" for none."""
        names = {b.identity: b.backend.name for s in self.services[:1] for b in s.backends}
        row = next((row for row in self.fake.services.values() if row.ring_size), None)
        if row is None:
            return [""] * (self.config.services[0].ring_size or 1024)
        indexes = {index: names.get(row.identity, "") for index, row in self.fake.backends.items()}
        words = self.fake.slots[row.ring_offset : row.ring_offset + row.ring_size]
        return [indexes.get(slot_parts(word)[0], "") for word in words]

    def slots(self) -> dict[str, int]:
        """How many slots each backend of the first service has."""
        owners = self.owners()
        return {name: owners.count(name) for name in sorted(set(owners))}

    def reasons(self) -> dict[str, str]:
        """State and reason of each backend of the first service."""
        return {b.backend.name: f"{b.state}: {b.reason}" for b in self.services[0].backends}


def play(world: World, turns: Mapping[Key, Sequence[Turn]]) -> list[tuple[float, int]]:
    """Let reports come in their order; return when the ring changed, and by how many slots."""
    events = sorted((turn.at, key, turn.up) for key, its in turns.items() for turn in its)
    moved = [(at, world.set({key: up}, at)) for at, key, up in events]
    return [(at, slots) for at, slots in moved if slots]
