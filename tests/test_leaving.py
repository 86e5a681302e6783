"""When backends that leave are gone, and what breaks when they go before."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.rig.packets import BACKENDS4, config
from tests.rig.xdp import desired
from xdplb.desired import Overrides
from xdplb.leaving import Flows, backends_of, breaks, departure, next_deadline, removals_over
from xdplb.status import SlotCounts

SERVICES = desired(config())
(WEB,) = SERVICES
ONE, TWO, THREE = WEB.backends
KEY = ("web", ONE.backend.name)
LEAVING = Overrides(draining={KEY}, removing={KEY: 100.0})


@dataclass
class Counted:
    """Counts as the sweep would give them."""

    left: dict[int, int] = field(default_factory=dict)
    moving: set[int] = field(default_factory=set)

    def flows_left(self, identity: int) -> int | None:
        return self.left.get(identity)

    def busy(self, identity: int) -> bool:
        return identity in self.moving


def flows(counts: Counted, slots: int = 0) -> Flows:
    """The first backend has so many slots, the second the rest, the third was never written."""
    return Flows(counts, lambda: SlotCounts({ONE.identity: slots, TWO.identity: 1024 - slots}, {}, {}))


def test_flows_are_gone_when_no_slot_is_its_own_or_moving_and_none_is_remembered() -> None:
    none = {ONE.identity: 0}
    assert flows(Counted(none)).gone(ONE.identity)
    assert not flows(Counted(none), slots=1).gone(ONE.identity)
    assert not flows(Counted(none, {ONE.identity})).gone(ONE.identity)
    assert not flows(Counted({ONE.identity: 1})).gone(ONE.identity)
    assert not flows(Counted()).gone(ONE.identity)
    assert flows(Counted()).gone(THREE.identity)
    assert not Flows(Counted(), flows(Counted()).slots).gone(ONE.identity)


def test_a_removal_is_over_at_its_deadline_or_when_the_flows_are_gone() -> None:
    some, none = flows(Counted({ONE.identity: 1})), flows(Counted({ONE.identity: 0}))
    assert removals_over(LEAVING, SERVICES, some, 99.9) == {}
    assert removals_over(LEAVING, SERVICES, some, 100.0) == {KEY: "its deadline has passed"}
    assert removals_over(LEAVING, SERVICES, none, 5.0) == {KEY: "its flows are gone"}
    assert removals_over(Overrides(draining={KEY}, deadlines={KEY: 1.0}), SERVICES, none, 5.0) == {}
    assert removals_over(LEAVING, (), none, 5.0) == {}


def test_the_next_deadline_is_the_first_after_a_time() -> None:
    overrides = Overrides(deadlines={KEY: 10.0, ("web", "x"): 30.0}, removing={("web", "y"): 20.0})
    assert [next_deadline(overrides, since) for since in (0, 10, 20, 30)] == [10, 20, 30, None]


def test_a_departure_says_how_far_it_is() -> None:
    ((service, backend),) = backends_of(SERVICES, [KEY, ("web", "nobody")])
    found = departure(service, backend, LEAVING, flows(Counted({ONE.identity: 3}, {ONE.identity})), 100.0)
    assert (found["service"], found["name"], found["state"]) == (*KEY, "up")
    assert {name: value for name, value in found.items() if name not in ("service", "name", "state", "reason")} == {
        "flows_left": 3,
        "learning": True,
        "gone": False,
        "leaving": True,
        "removing": True,
        "deadline": 100.0,
        "passed": True,
    }
    stays = departure(service, backend, Overrides(), flows(Counted(), slots=341), 100.0)
    assert (stays["leaving"], stays["deadline"], stays["passed"], stays["gone"]) == (False, None, False, False)


def test_what_breaks_is_a_number_of_flows_where_they_are_known_else_of_slots() -> None:
    (first,) = backends_of(SERVICES, [KEY])
    assert breaks(*first, flows(Counted({ONE.identity: 3}), slots=341)) == {
        "flows": None,
        "more": False,
        "slots": 341,
        "ring_size": 1024,
    }
    assert breaks(*first, flows(Counted({ONE.identity: 3}, {ONE.identity})))["flows"] == 3
    assert breaks(*first, flows(Counted({ONE.identity: 3}, {ONE.identity})))["more"] is True
    assert breaks(*first, flows(Counted()))["flows"] is None
    never = next(backends_of(SERVICES, [("web", BACKENDS4[2].name)]))
    assert breaks(*never, flows(Counted()))["flows"] == 0
