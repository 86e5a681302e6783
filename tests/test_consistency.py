"""Kernel, fake and the shortest model of the rule give every packet the same backend, whatever happens to the ring.

And no flow of a backend that stayed up ever changes its backend, as long as it sends within each learn window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from random import Random

import pytest

from tests.rig.packets import BACKENDS4, CLIENT4, VIP4, config, service, tcp
from tests.rig.slots import Model, Slot
from tests.rig.xdp import SPEC, Action, Xdp, desired
from xdplb import hashing
from xdplb.dataplane.fake import Fake
from xdplb.desired import DesiredService
from xdplb.model import Backend, Service, Vip
from xdplb.reconcile import Memo, reconcile
from xdplb.slots import Ended
from xdplb.sweep import Clock, Look, look_for
from xdplb.tables import MOVED, MOVING, SETTLED, Tables, slot_parts
from xdplb.transitions import Transitions

RING = 64
POOL = [*BACKENDS4, *(Backend(f"more{n}", ip_address(0x0A000B64 + n)) for n in range(3))]
VIP, CLIENT = Vip(ip_address(VIP4), 80), ip_address(CLIENT4)
WINDOW_S = 10.0
SYN, ACK = bytes(tcp(flags="S")), bytes(tcp(flags="A"))  # the source port stands from byte 34 on


@dataclass
class World:
    """What is wanted: which backends there are, with which weight, and who is up."""

    rng: Random
    there: set[int]
    weights: dict[int, int]
    down: set[int]
    draining: set[int]

    def change(self) -> None:
        """Something happens to some backend."""
        which, rng = self.rng.randrange(len(POOL)), self.rng
        what = rng.choice(["down", "up", "drain", "undrain", "add", "remove", "weight"])
        {
            "down": lambda: self.down.add(which),
            "up": lambda: self.down.discard(which),
            "drain": lambda: self.draining.add(which),
            "undrain": lambda: self.draining.discard(which),
            "add": lambda: self.there.add(which),
            "remove": lambda: self.there.discard(which) if len(self.there) > 1 else None,
            "weight": lambda: self.weights.update({which: rng.choice([0, 50, 100, 200])}),
        }[what]()

    def services(self) -> tuple[DesiredService, ...]:
        """What that makes of the service."""
        backends = [replace(POOL[n], weight=self.weights.get(n, 100)) for n in sorted(self.there)]
        web: Service = replace(service(backends=backends, ring_size=RING), learn_window_s=WINDOW_S)
        down = {POOL[n].name for n in self.down}
        draining = {("web", POOL[n].name) for n in self.draining}
        found: tuple[DesiredService, ...] = desired(config(web), down=down, draining=draining)
        return found


class Plane:
    """One data plane under the daemon's rules: what changes, when slots go on, what a sweep does."""

    def __init__(self, plane: Fake | Xdp) -> None:
        self.plane, self.rings, self.transitions = plane, Memo(), Transitions()
        self.services: tuple[DesiredService, ...] = ()
        self.clock = Clock()

    def tables(self) -> Tables:
        tables = self.plane.tables() if isinstance(self.plane, Fake) else self.plane.kernel.tables()
        return replace(tables, slots=tables.slots[:])

    def write(self, services: tuple[DesiredService, ...], now: float, ended: dict[int, Ended] | None = None) -> None:
        self.services = services
        changes = reconcile(services, self.tables(), SPEC.capacity, SPEC.seed, ended, self.rings)
        (self.plane if isinstance(self.plane, Fake) else self.plane.kernel).apply(changes)
        self.transitions.note(changes, services, now)

    def sweep(self, now: float) -> None:
        learned = self.transitions.learned(now)
        self.write(self.services, now, {service: Ended(windows=slots) for service, slots in learned.items()})
        look = self._look()
        without = look.without_flows()
        self.write(self.services, now, {service: Ended(flows=slots) for service, slots in without.items()})

    def _look(self) -> Look:
        if isinstance(self.plane, Fake):
            return self.plane.sweep(self.services)
        look = look_for(self.services, self.tables(), self.clock)
        flows = self.plane.kernel.flows
        for place in look.take(flows.tolist()):
            flows[place] = 0
        return look

    def steer(self, port: int, opens: bool) -> str | None:
        if isinstance(self.plane, Fake):
            row = self.plane.steer(CLIENT, port, VIP, opens)
            return None if isinstance(row, str) else str(row.address)
        sent = SYN if opens else ACK
        action, left = self.plane.run_bytes(sent[:34] + port.to_bytes(2, "big") + sent[36:])
        return str(ip_address(left[30:34])) if action is Action.TX else None  # the outer destination


def model_for(plane: Plane) -> Model:
    """A model with the same slots for the same flows."""

    def slot_of(flow: object) -> int:
        assert isinstance(flow, int)
        return hashing.slot_of(hashing.hash_flow(CLIENT, flow, VIP, SPEC.hash_key), RING)

    tables = plane.tables()
    rows = {index: str(row.address) for index, row in tables.backends.items()}
    (offset,) = {row.ring_offset for row in tables.services.values() if row.ring_size}
    owners = [rows.get(slot_parts(word)[0]) for word in tables.slots[offset : offset + RING]]
    return Model(slot_of, WINDOW_S, [Slot(owner) for owner in owners])


def owners_of(plane: Plane) -> list[str | None]:
    """Who has each slot of the ring."""
    tables = plane.tables()
    rows = {index: str(row.address) for index, row in tables.backends.items()}
    (offset,) = {row.ring_offset for row in tables.services.values() if row.ring_size}
    return [rows.get(slot_parts(word)[0]) for word in tables.slots[offset : offset + RING]]


def play(planes: list[Plane], seed: int, steps: int) -> Iterator[tuple[list[str | None], str | None]]:
    """Play a random history on all of them and on the model; yield where each packet went, and where it should."""
    rng = Random(seed)
    world = World(rng, {0, 1, 2}, {}, set(), set())
    for plane in planes:
        plane.write(world.services(), 0.0)
    model = model_for(planes[0])
    now, flows, last = 0.0, dict[int, str | None](), 1024
    for _ in range(steps):
        if rng.random() < 0.5:
            world.change()
        services = world.services()
        for plane in planes:
            plane.write(services, now)
        backends = [b for b in services[0].backends if b.row]
        up = {str(b.backend.address) for b in backends if b.row and b.row.up}
        model.change(owners_of(planes[0]), {str(b.backend.address) for b in backends}, up)
        flows = {port: home for port, home in flows.items() if home in up and rng.random() < 0.95}
        for port, home in flows.items():
            expected = model.steer(port, False)
            assert expected == home, f"flow {port} of the live backend {home} was sent to {expected}"
            yield [plane.steer(port, False) for plane in planes], expected
        for port in range(last, last := last + 12):
            expected = model.steer(port, True)
            yield [plane.steer(port, True) for plane in planes], expected
            if expected is not None:
                flows[port] = expected
        for port in rng.sample(range(40_000, 60_000), 4):  # older than anything we have seen
            yield [plane.steer(port, False) for plane in planes], model.steer(port, False)
        passed = rng.choice([0.5, 2.0, WINDOW_S / 2])
        now += passed
        model.wait(passed)
        if rng.random() < 0.5:
            model.sweep()
            for plane in planes:
                plane.sweep(now)
        else:
            for plane in planes:
                learned = plane.transitions.learned(now)
                plane.write(services, now, {service: Ended(windows=slots) for service, slots in learned.items()})
    for plane in planes:
        assert_cold_is_warm(plane, services, now)


def assert_cold_is_warm(plane: Plane, services: tuple[DesiredService, ...], now: float) -> None:
    """When every flow has ended and all windows are over, nothing is left of what happened."""
    if isinstance(plane.plane, Fake):
        plane.plane.flows.clear()
    else:
        plane.plane.forget()
    plane.sweep(now + 1000.0)
    cold = Plane(Fake(SPEC))
    cold.write(services, 0.0)
    assert owners_of(plane) == owners_of(cold)
    assert {slot_parts(word)[2] for word in plane.tables().slots} == {SETTLED}
    assert plane.transitions.settled


@pytest.mark.parametrize("seed", range(12))
def test_fake_and_model_agree_and_no_flow_of_a_live_backend_moves(seed: int) -> None:
    for went, expected in play([Plane(Fake(SPEC))], seed, steps=80):
        assert went == [expected]


@pytest.mark.root
@pytest.mark.parametrize("seed", range(3))
def test_kernel_fake_and_model_agree_and_no_flow_of_a_live_backend_moves(xdp: Xdp, seed: int) -> None:
    xdp.serve(config())
    xdp.apply(())
    for went, expected in play([Plane(xdp), Plane(Fake(SPEC))], 100 + seed, steps=60):
        assert went == [expected, expected]


def test_histories_reach_every_state() -> None:
    plane, met = Plane(Fake(SPEC)), set[int]()
    for number, _ in enumerate(play([plane], 1, steps=60)):
        if number % 50 == 0:
            met |= {slot_parts(word)[2] for word in plane.tables().slots}
    assert met == {SETTLED, MOVING, MOVED}
