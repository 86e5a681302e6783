"""A look through the flows frees what is over, keeps what a slot needs, counts what each backend has left."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.rig.packets import BACKENDS4, CLIENT4, VIP4, config, service
from tests.rig.xdp import SPEC, desired
from xdplb.dataplane.fake import Fake
from xdplb.model import Vip
from xdplb.reconcile import reconcile
from xdplb.slots import Ended
from xdplb.sweep import CLOSED_S, CYCLE, OPEN_UNIT_S, Clock, look_for
from xdplb.tables import MOVED, slot_parts

VIP, CLIENT = Vip(ip_address(VIP4), 80), ip_address(CLIENT4)
ONE, TWO = (desired(config(service(backends=BACKENDS4[:n], ring_size=64))) for n in (1, 2))
OPEN, CLOSING = 1 << 16, 1 << 24


@pytest.fixture
def fake() -> Fake:
    """One backend, then two; 100 older flows and 100 younger ones have sent."""
    fake = Fake(SPEC)
    for services in (ONE, TWO):
        fake.apply(reconcile(services, fake.tables(), SPEC.capacity, SPEC.seed))
    for port in range(1000, 1200):
        fake.steer(CLIENT, port, VIP, opens=port >= 1100)
    return fake


def move_on(fake: Fake, ended: Ended) -> None:
    fake.apply(reconcile(TWO, fake.tables(), SPEC.capacity, SPEC.seed, {TWO[0].identity: ended}))


def flows_of(fake: Fake) -> dict[str, int]:
    """Remembered flows by backend's name, as a look counts them."""
    look = fake.sweep(TWO)
    names = {b.identity: b.backend.name for b in TWO[0].backends}
    return {names[fake.backends[index].identity]: count for index, count in enumerate(look.flows) if count}


def test_all_flows_of_moving_slots_are_kept_and_counted(fake: Fake) -> None:
    born = sum(word >> 25 & 1 for word in fake.flows.values())
    learned = len(fake.flows) - born
    assert born
    assert learned

    assert flows_of(fake) == {BACKENDS4[0].name: learned, BACKENDS4[1].name: born}
    assert len(fake.flows) == born + learned


def test_moved_slots_keep_only_what_lives_elsewhere_and_settle_without(fake: Fake) -> None:
    learned = sum(not word >> 25 & 1 for word in fake.flows.values())
    move_on(fake, Ended(windows=range(64)))

    assert flows_of(fake) == {BACKENDS4[0].name: learned}
    assert len(fake.flows) == learned
    look = fake.sweep(TWO)
    without = look.without_flows()[TWO[0].identity]
    moved = {slot for slot, word in enumerate(fake.slots) if slot_parts(word)[2] == MOVED}
    assert without
    assert without < moved

    move_on(fake, Ended(flows=without))
    assert {slot for slot, word in enumerate(fake.slots) if slot_parts(word)[2] == MOVED} == moved - without
    fake.flows.clear()
    assert fake.sweep(TWO).without_flows() == {TWO[0].identity: moved - without}


def test_flows_of_settled_slots_and_of_nobody_are_freed(fake: Fake) -> None:
    move_on(fake, Ended(windows=range(64)))
    move_on(fake, Ended(flows=range(64)))
    assert flows_of(fake) == {}
    assert fake.flows == {}


def test_flows_of_a_backend_that_is_gone_are_freed(fake: Fake) -> None:
    gone = next(index for index, row in fake.backends.items() if row.identity == TWO[0].backends[0].identity)
    services = (replace(TWO[0], backends=TWO[0].backends[1:]),)
    look = look_for(services, fake.tables(), fake.clock)
    words = [word for word in fake.flows.values() if not word >> 25 & 1]
    assert {word & 0xFFFF for word in words} == {gone}
    assert look.take(words) == list(range(len(words)))


@pytest.mark.parametrize(("idle_s", "units"), [(60.0, 2), (300.0, 10), (7200.0, 225)])
def test_silent_flows_are_over_after_their_time(idle_s: float, units: int) -> None:
    clock = Clock(open=200, closing=9)
    expired = clock.expired(idle_s)
    ages = [age for age in range(CYCLE) if expired[(200 - 1 - age) % CYCLE + 1]]
    assert ages == list(range(units + 1, CYCLE))
    closed = [age for age in range(CYCLE) if expired[256 + (9 - 1 - age) % CYCLE + 1]]
    assert closed == list(range(int(CLOSED_S) + 1, CYCLE))
    assert not expired[0]


def test_the_clock_goes_on_where_it_was_left_and_never_leaps() -> None:
    clock = Clock.from_word(255 | 254 << 8)
    clock.advance(OPEN_UNIT_S * 100)
    assert (clock.open, clock.closing) == (1, (254 - 1 + 10) % CYCLE + 1)  # 0 is no time
    assert Clock.from_word(clock.word).word == clock.word
    assert Clock.from_word(0) == Clock(1, 1)
    for _ in range(320):
        clock.advance(0.1)
    assert clock.open == 2


def test_free_places_and_the_words_between_lines_are_no_flows() -> None:
    look = look_for(ONE, Fake(SPEC).tables(), Clock())
    assert look.take([0, 6, 1 << 8 | 6]) == []
    assert look.take([OPEN | 5, OPEN | CLOSING | 5]) == [0, 1]  # of a backend that there is not
