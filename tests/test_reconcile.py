"""Changes: few, in a safe order, and none where all is right. Kernel and fake must answer alike."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rig.packets import BACKENDS4, BACKENDS6, CLIENT4, config, dns, hop, service
from xdplb import hashing
from xdplb.dataplane.fake import Fake
from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredService, Health, Hop, Overrides, desire
from xdplb.model import Address, Backend, Config, Service, Vip
from xdplb.reconcile import Memo, News, NoRoom, find_few_news, needed, reconcile
from xdplb.slots import Ended
from xdplb.tables import (
    MOVED,
    MOVING,
    SETTLED,
    Capacity,
    Change,
    ClearBackend,
    ClearService,
    PutBackend,
    PutService,
    PutSlots,
    Tables,
    entries_written,
    slot_parts,
)

SMALL = Capacity(rows_bits=6, slots=16384, backends=64)
SPEC = Spec(SMALL, vip4=True, vip6=True, ipip4=True, ipip6=True, seed=0x9E3779B97F4A7C15, hash_key=99)


def desired(
    config_: Config, down: frozenset[str] = frozenset(), lost: frozenset[str] = frozenset()
) -> tuple[DesiredService, ...]:
    """All backends reachable but `lost` and up but `down`."""
    backends = [(s.name, b) for s in config_.services for b in s.backends]
    hops = {b.address: "gone" if b.name in lost else hop(b.address.version) for _, b in backends}
    health = {(s, b.name): Health(b.name not in down, "") for s, b in backends}
    return desire(config_, Overrides(), health, hops)


def bring(fake: Fake, services: tuple[DesiredService, ...]) -> list[Change]:
    changes = reconcile(services, fake.tables(), fake.spec.capacity, fake.spec.seed)
    assert fake.apply(changes) == entries_written(changes)
    return changes


def test_second_time_there_is_nothing_to_do() -> None:
    fake, services = Fake(SPEC), desired(config(service(), dns(BACKENDS6)))

    assert bring(fake, services)
    assert bring(fake, services) == []


def test_first_changes_come_in_make_before_break_order() -> None:
    kinds = [type(change) for change in bring(Fake(SPEC), desired(config()))]

    assert kinds == [PutBackend] * 3 + [PutSlots] + [PutService] * 4  # a VIP and its address, of both families


def test_adding_a_backend_writes_its_row_then_its_slots_and_no_more() -> None:
    fake = Fake(SPEC)
    bring(fake, desired(config(service(backends=BACKENDS4[:2]))))

    changes = bring(fake, desired(config(service(backends=BACKENDS4))))

    assert [type(change) for change in changes] == [PutBackend, PutSlots]
    slots = changes[1]
    assert isinstance(slots, PutSlots)
    assert 1024 / 3 * 0.9 < len(slots.entries) < 1024 / 3 * 1.6


def test_a_backend_that_goes_down_moves_exactly_its_own_slots() -> None:
    fake = Fake(SPEC)
    bring(fake, desired(config()))
    before = owners(fake)
    index = next(i for i, row in fake.backends.items() if row.address == BACKENDS4[1].address)

    bring(fake, desired(config(), down=frozenset({BACKENDS4[1].name})))

    moved = {slot for slot, (a, b) in enumerate(zip(before, owners(fake), strict=True)) if a != b}
    assert moved == {slot for slot, owner in enumerate(before) if owner == index}
    bring(fake, desired(config()))
    assert owners(fake) == before


def test_a_backend_with_a_share_has_that_part_of_its_slots_and_the_rest_moves_to_it_later() -> None:
    fake, wanted = Fake(SPEC), config()
    hops, late = {b.address: hop(4) for b in BACKENDS4}, BACKENDS4[1]
    health = {("web", b.name): Health(True, "") for b in BACKENDS4}
    bring(fake, desire(wanted, Overrides(), health, hops, shares={("web", late.name): 1 / 16}))
    index = next(i for i, row in fake.backends.items() if row.address == late.address)
    few = owners(fake)

    bring(fake, desire(wanted, Overrides(), health, hops))

    moved = {slot for slot, (a, b) in enumerate(zip(few, owners(fake), strict=True)) if a != b}
    assert 0 < few.count(index) < 60
    assert {owners(fake)[slot] for slot in moved} == {index}


def test_an_unreachable_backend_keeps_its_row_and_gets_no_slot() -> None:
    fake = Fake(SPEC)
    bring(fake, desired(config()))

    changes = bring(fake, desired(config(), lost=frozenset({BACKENDS4[0].name})))

    assert [type(change) for change in changes] == [PutBackend, PutSlots]
    assert [row.up for row in fake.backends.values()] == [False, True, True]


def test_removing_a_service_takes_its_vips_then_its_slots_then_its_backends() -> None:
    fake = Fake(SPEC)
    bring(fake, desired(config(service(), dns(BACKENDS6))))

    changes = bring(fake, desired(config(service())))

    assert [type(change) for change in changes] == [ClearService] * 2 + [PutSlots] + [ClearBackend] * 3
    assert set(fake.slots) == {0, *fake.backends}


def test_a_vip_that_goes_to_another_service_is_never_without_a_row() -> None:
    fake = Fake(SPEC)
    one, other = service("one"), service("other", backends=BACKENDS6, vips=(Vip(ip_address("192.0.2.99"), 80),))
    bring(fake, desired(config(one, other)))
    swapped = (replace(one, vips=other.vips), replace(other, vips=one.vips))

    for change in reconcile(desired(config(*swapped)), fake.tables(), SMALL, SPEC.seed):
        fake.apply([change])
        for vip in (*one.vips, *other.vips):
            assert fake.find_service(vip) is not None


def test_a_next_hop_with_a_new_mac_changes_one_row() -> None:
    fake, services = Fake(SPEC), desired(config())
    bring(fake, services)
    first = services[0].backends[0]
    assert first.row is not None
    moved = replace(first, row=replace(first.row, ethernet=bytes(14)))
    changed = (replace(services[0], backends=(moved, *services[0].backends[1:])),)

    (change,) = bring(fake, changed)

    assert isinstance(change, PutBackend)
    assert not change.fresh


def test_tables_without_room_say_so_and_are_not_touched() -> None:
    many = [Backend(f"b{n}", ip_address(0x0A000000 + n)) for n in range(1, 100)]
    with pytest.raises(NoRoom, match="64 backends"):
        reconcile(desired(config(service(backends=many))), Tables(slots=[0] * 16384), SMALL, 1)
    with pytest.raises(NoRoom, match="slots"):
        reconcile(desired(config(service(ring_size=32768))), Tables(slots=[0] * 16384), SMALL, 1)


def test_needed_room_grows_with_what_is_configured() -> None:
    many = [Backend(f"b{n}", ip_address(0x0A000000 + n)) for n in range(1, 5001)]

    room = needed(desired(config(service(backends=many))))

    assert room.backends >= 10001
    assert room.slots >= 2 * 500_000
    assert needed(desired(config())) == Capacity()


def test_five_hundred_vips_find_their_rows() -> None:
    vips = tuple(Vip(ip_address(0xC0000200 + n), 80) for n in range(500))
    capacity = Capacity(rows_bits=11, slots=16384, backends=64)
    fake = Fake(replace(SPEC, capacity=capacity))

    bring(fake, desired(config(service(vips=vips))))

    assert all(fake.find_service(vip) for vip in vips)


BACKENDS = [*BACKENDS4, *BACKENDS6]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[DesiredService, ...]:
    """Any set of up to three services with any backends, any of which may be down or lost."""
    names = draw(st.sets(st.sampled_from(["web", "api", "dns"]), min_size=1))
    free = [Vip(ip_address(f"192.0.2.{n}"), 80) for n in range(1, 13)]
    services: list[Service] = []
    for name in sorted(names):
        vips = draw(st.sets(st.sampled_from(free), min_size=1, max_size=4))
        free = [vip for vip in free if vip not in vips]
        backends = draw(st.lists(st.sampled_from(BACKENDS), unique=True))
        weighed = [replace(b, weight=draw(st.sampled_from([0, 1, 100]))) for b in backends]
        size = draw(st.sampled_from([64, 256]))
        services.append(service(name, backends=weighed, vips=tuple(sorted(vips, key=str)), ring_size=size))
    able = st.frozensets(st.sampled_from([b.name for b in BACKENDS]))
    return desired(config(*services), draw(able), draw(able))


@pytest.mark.slow
@settings(max_examples=70, deadline=None)
@given(st.lists(worlds(), min_size=1, max_size=5))
def test_warm_equals_cold(history: list[tuple[DesiredService, ...]]) -> None:
    """Any sequence of changes ends where a fresh start from the last one gets: every flow has the same backend."""
    warm, cold = Fake(SPEC), Fake(SPEC)
    for services in history:
        bring(warm, services)
    bring(cold, history[-1])

    assert {row.identity for row in warm.backends.values()} >= {row.identity for row in cold.backends.values()}
    for vip in (Vip(ip_address(f"192.0.2.{n}"), 80) for n in range(1, 13)):
        for port in range(50):
            a, b = (fake.steer(ip_address(CLIENT4), port, vip, opens=True) for fake in (warm, cold))
            assert (a if isinstance(a, str) else a.identity) == (b if isinstance(b, str) else b.identity)
    assert bring(warm, history[-1]) == []


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(worlds(), worlds())
def test_at_every_step_a_known_vip_leads_to_a_written_backend(
    before: tuple[DesiredService, ...], after: tuple[DesiredService, ...]
) -> None:
    """Between two changes the tables may be half old, half new, but never point at nothing."""
    fake = Fake(SPEC)
    bring(fake, before)
    kept = {vip for s in before for vip in s.vips} & {vip for s in after for vip in s.vips}
    for change in reconcile(after, fake.tables(), SMALL, SPEC.seed):
        fake.apply([change])
        for vip in kept:
            assert fake.find_service(vip) is not None
        for index in {index for word in fake.slots for index in slot_parts(word)[:2]} - {0}:
            assert index in fake.backends


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(worlds(), st.booleans()), min_size=1, max_size=6))
def test_a_memo_changes_nothing_but_the_time_it_takes(history: list[tuple[tuple[DesiredService, ...], bool]]) -> None:
    with_memo, without, rings = Fake(SPEC), Fake(SPEC), Memo()
    for services, settled in history:
        ended = everything(with_memo, services) if settled else None
        for fake, memo in ((with_memo, rings), (without, None)):
            fake.apply(reconcile(services, fake.tables(), SMALL, SPEC.seed, ended, memo))
        assert with_memo.tables() == without.tables()
        assert reconcile(services, with_memo.tables(), SMALL, SPEC.seed, None, rings) == []


class World:
    """Services of which anything may change, most often the state of single backends, as checks find it."""

    def __init__(self, seed: int) -> None:
        self.rng, self.down, self.lost, self.moved = Random(seed), set[str](), set[str](), set[str]()
        self.shares: dict[tuple[str, str], float] = {}
        self.sizes, self.number = {"web": 64, "api": 256}, 5

    def go_on(self) -> None:
        rng, name, other = self.rng, self.rng.choice(BACKENDS).name, self.rng.choice(["web", "api"])
        what = rng.randrange(14)
        if what < 7:
            self.down ^= {name}
        elif what < 9:
            self.lost ^= {name}
        elif what == 9:
            self.moved ^= {name}
        elif what == 10:
            self.down = set(rng.choice([(), [b.name for b in BACKENDS]]))
        elif what == 11:
            self.shares = {(other, name): rng.choice([0.25, 0.75])} if rng.random() < 0.7 else {}
        elif what == 12:
            self.sizes[other] = rng.choice([64, 256, 512])
        else:
            self.number = rng.randrange(1, 7)

    def services(self) -> tuple[DesiredService, ...]:
        web = service("web", BACKENDS[: self.number], vips=(Vip(ip_address("192.0.2.1"), 80),))
        api = service("api", BACKENDS[1:], vips=(Vip(ip_address("192.0.2.2"), 80),))
        wanted = config(*(replace(s, ring_size=self.sizes[s.name]) for s in (web, api)))
        known: dict[Address, Hop | str] = {b.address: hop(b.address.version) for b in BACKENDS}
        known |= {b.address: replace(hop(b.address.version), mtu=1400) for b in BACKENDS if b.name in self.moved}
        known |= {b.address: "gone" for b in BACKENDS if b.name in self.lost}
        health = {(s, b.name): Health(b.name not in self.down, "") for s in self.sizes for b in BACKENDS}
        return desire(wanted, Overrides(), health, known, shares=self.shares)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(2, 30))
def test_following_news_ends_in_the_same_tables_as_looking_at_everything(seed: int, steps: int) -> None:
    with_memo, without, memo, world = Fake(SPEC), Fake(SPEC), Memo(), World(seed)
    for _ in range(steps):
        world.go_on()
        services, ended = world.services(), None
        if world.rng.random() < 0.3:
            some = world.rng.sample(range(1024), 300)
            ended = {s.identity: Ended(some[:200], some[100:]) for s in services if world.rng.random() < 0.7}
        for fake, known in ((with_memo, memo), (without, None)):
            fake.apply(reconcile(services, fake.tables(), SMALL, SPEC.seed, ended, known))
        assert with_memo.tables() == without.tables()
        assert reconcile(services, with_memo.tables(), SMALL, SPEC.seed) == []  # as a daemon that was restarted would
        assert reconcile(services, with_memo.tables(), SMALL, SPEC.seed, None, memo) == []


def test_what_a_check_finds_is_followed_and_what_changes_more_is_not() -> None:
    fake, memo, world = Fake(SPEC), Memo(), World(1)
    changes = {"down": {"four11"}, "lost": {"four11"}, "shares": {("api", "four12"): 0.5}}

    def news(**fields: Any) -> News | None:
        for name, value in fields.items():
            setattr(world, name, value)
        found = find_few_news(world.services(), {}, memo)
        fake.apply(reconcile(world.services(), fake.tables(), SMALL, SPEC.seed, None, memo))
        return found

    assert news() is None  # the first time
    for name, value in changes.items():
        found = news(**{name: value})
        assert found is not None, name
        assert all(len(backends) == 1 for backends in found.values()), name
    assert news() == {}
    assert news(number=4) is None
    assert news(moved={"four12"}) is None  # VIPs' rows tell the MTU
    assert news(down={b.name for b in BACKENDS}) is None  # a ring without anybody is built anew


def test_to_let_many_slots_go_on_is_not_done_in_passing() -> None:
    memo, services = Memo(), desired(config())
    reconcile(services, Fake(SPEC).tables(), SMALL, SPEC.seed, None, memo)
    (web,) = services
    assert find_few_news(services, {web.identity: Ended(range(100))}, memo) == {}
    assert find_few_news(services, {web.identity: Ended(range(1 << 20))}, memo) is None


def test_tables_are_filled_from_such_as_are_smaller() -> None:
    """Where more is configured than the first tables have room for, larger ones are made of them."""
    services = desired(config(service(ring_size=16384)))
    small = Fake(replace(SPEC, capacity=Capacity(rows_bits=6, slots=1024, backends=64)))

    changes = reconcile(services, small.tables(), SMALL, SPEC.seed)

    assert changes == reconcile(services, Fake(SPEC).tables(), SMALL, SPEC.seed)


def test_a_settled_slot_that_changes_remembers_where_it_came_from_until_it_settles() -> None:
    fake, two = Fake(SPEC), desired(config(service(backends=BACKENDS4[:2])))
    bring(fake, two)
    assert moving(fake) == set()
    before = owners(fake)

    bring(fake, desired(config()))

    assert moving(fake) == {slot for slot, owner in enumerate(owners(fake)) if owner != before[slot]}
    assert {slot: slot_parts(fake.slots[slot])[1] for slot in moving(fake)} == {
        slot: before[slot] for slot in moving(fake)
    }
    assert bring(fake, desired(config())) == []
    services = desired(config())
    for state in (MOVED, SETTLED):
        (gone_on,) = reconcile(services, fake.tables(), SMALL, SPEC.seed, everything(fake, services))
        fake.apply([gone_on])
        assert moving(fake) == set()
        assert {slot_parts(word)[2] for word in fake.slots} == {SETTLED, state}


def test_slots_of_a_removed_backend_do_not_lead_back_to_it() -> None:
    fake = Fake(SPEC)
    bring(fake, desired(config()))
    bring(fake, desired(config(service(backends=BACKENDS4[:2]))))
    assert {index for word in fake.slots for index in slot_parts(word)[:2]} - {0} == set(fake.backends)
    assert len(fake.backends) == 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.frozensets(st.sampled_from([b.name for b in BACKENDS]), max_size=5), st.booleans()),
        min_size=2,
        max_size=8,
    )
)
def test_no_flow_of_a_live_backend_moves_while_slots_are_moving(history: list[tuple[frozenset[str], bool]]) -> None:
    """Backends go down, come up, are added and removed; every flow stays where its SYN went as long as that lives."""
    fake, vip, client = Fake(SPEC), Vip(ip_address("192.0.2.10"), 80), ip_address(CLIENT4)
    flows: dict[int, int] = {}
    for step, (out, removed) in enumerate(history):
        if removed:
            world = desired(config(service(backends=[b for b in BACKENDS if b.name not in out])))
        else:
            world = desired(config(service(backends=BACKENDS)), down=out)
        bring(fake, world)
        live = {row.identity for row in fake.backends.values() if row.up}
        flows = {port: home for port, home in flows.items() if home in live}
        for port, home in flows.items():
            row = fake.steer(client, port, vip)
            assert not isinstance(row, str)
            assert row.identity == home
        for port in range(step * 200, step * 200 + 200):
            row = fake.steer(client, port, vip, opens=True)
            if not isinstance(row, str):
                flows[port] = row.identity


def test_a_ring_that_doubles_moves_no_flow_that_exists() -> None:
    fake, vip, client = Fake(SPEC), Vip(ip_address("192.0.2.10"), 80), ip_address(CLIENT4)
    bring(fake, desired(config(service(ring_size=256))))
    flows = {port: fake.steer(client, port, vip, opens=True) for port in range(500)}

    bring(fake, desired(config(service(backends=BACKENDS, ring_size=512))))

    assert {port: fake.steer(client, port, vip) for port in flows} == flows
    assert bring(fake, desired(config(service(backends=BACKENDS, ring_size=512)))) == []


def test_a_vip_in_a_row_where_nobody_looks_is_written_where_they_do() -> None:
    """As after an upgrade with another hash."""
    fake = Fake(SPEC)
    bring(fake, desired(config()))
    fake.services = {63 - number: row for number, row in fake.services.items()}

    bring(fake, desired(config()))

    assert fake.find_service(Vip(ip_address("192.0.2.10"), 80)) is not None


def owners(fake: Fake) -> list[int]:
    """The backend index of every slot."""
    return [slot_parts(word)[0] for word in fake.slots]


def moving(fake: Fake) -> set[int]:
    """The slots that are moving."""
    return {slot for slot, word in enumerate(fake.slots) if slot_parts(word)[2] == MOVING}


def everything(fake: Fake, services: tuple[DesiredService, ...]) -> dict[int, Ended]:
    """All slots may go on."""
    return {service.identity: Ended(range(len(fake.slots)), range(len(fake.slots))) for service in services}


def test_identities_do_not_meet() -> None:
    names = {hashing.identity("backend", f"s{s}", f"b{b}", "10.0.0.1") for s in range(100) for b in range(100)}
    assert len(names) == 10_000
