"""The ring's promises: shares, exact moves on failure, small moves on change, the same everywhere."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdplb.ring import LARGE, Member, Ring, build_ring, ring_size


def members(number: int, weight: int = 100) -> list[Member]:
    return [Member(f"b{n}", weight) for n in range(number)]


def owners(of: list[Member], size: int = 16384, salt: str = "web") -> list[str]:
    """The key of every slot's backend."""
    return [of[i].key if i >= 0 else "" for i in build_ring(of, size, salt)]


def moved(before: list[str], after: list[str]) -> int:
    return sum(a != b for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("backends", "slots"), [(0, 1024), (1, 1024), (10, 1024), (11, 2048), (100, 16384), (1000, 131072)]
)
def test_size_is_a_power_of_two_with_a_hundred_slots_a_backend(backends: int, slots: int) -> None:
    assert ring_size(backends) == slots


def test_shares_are_within_one_percent_of_the_weights() -> None:
    weights = {f"b{n}": 50 + n for n in range(100)}
    shares = Counter(owners([Member(key, weight) for key, weight in weights.items()]))
    for key, weight in weights.items():
        wanted = 16384 * weight / sum(weights.values())
        assert abs(shares[key] - wanted) <= 1 + 0.01 * wanted


def test_order_of_the_members_does_not_matter() -> None:
    some = [replace(m, weight=w, up=w != 7) for m, w in zip(members(20), [1, 7, 100, 3] * 5, strict=True)]
    assert owners(some) == owners(some[::-1]) == owners(sorted(some, key=lambda m: m.weight))


def test_ring_is_the_same_on_every_box_and_version() -> None:
    """Frozen: another ring would move flows of every box at an upgrade."""
    some = [Member(f"b{n}", 1 + n, up=n != 3) for n in range(9)]
    text = ",".join(owners(some, 1024)).encode()
    assert hashlib.blake2b(text, digest_size=8).hexdigest() == "5964403ad6d8e8c6"


def test_services_spread_differently() -> None:
    assert owners(members(5), salt="web") != owners(members(5), salt="api")


patterns = st.lists(st.booleans(), min_size=12, max_size=12)


@settings(max_examples=60, deadline=None)
@given(patterns, st.integers(0, 11))
def test_failure_and_recovery_move_exactly_ones_own_slots(up: list[bool], who: int) -> None:
    """Whoever else is down."""
    up[who] = True
    with_it = [Member(f"b{n}", 10 + n, up=is_up) for n, is_up in enumerate(up)]
    without = [replace(m, up=False) if n == who else m for n, m in enumerate(with_it)]
    before, after = owners(with_it, 2048), owners(without, 2048)
    assert {slot for slot, owner in enumerate(before) if owner != after[slot]} == {
        slot for slot, owner in enumerate(before) if owner == f"b{who}"
    }


def test_slots_of_a_failed_backend_are_spread_over_all_others() -> None:
    healthy = members(10)
    down = [replace(m, up=m.key != "b3") for m in healthy]
    before, after = owners(healthy), owners(down)
    heirs = Counter(after[slot] for slot, owner in enumerate(before) if owner == "b3")
    assert len(heirs) == 9
    assert max(heirs.values()) < 1.4 * min(heirs.values())


@pytest.mark.parametrize("alive", [2, 5, 30])
def test_where_most_are_down_the_few_share_by_weight(alive: int) -> None:
    every = [Member(f"b{n}", 100 + 100 * (n % 2), up=n < alive) for n in range(300)]
    shares = Counter(owners(every, 32768))
    total = sum(m.weight for m in every if m.up)
    for member in every[:alive]:
        assert shares[member.key] == pytest.approx(32768 * member.weight / total, rel=0.15)


def test_failure_moves_exactly_ones_own_slots_where_most_are_down() -> None:
    every = [Member(f"b{n}", 1 + n % 3, up=n < 6) for n in range(200)]
    before, after = owners(every), owners([replace(m, up=m.up and m.key != "b4") for m in every])
    assert {slot for slot, owner in enumerate(before) if owner != after[slot]} == {
        slot for slot, owner in enumerate(before) if owner == "b4"
    }


@pytest.mark.parametrize("who", [0, 42, 99])
def test_a_backend_that_is_removed_moves_little_more_than_its_share(who: int) -> None:
    every = members(100)
    before, after = owners(every), owners(every[:who] + every[who + 1 :])
    assert before.count(f"b{who}") <= moved(before, after) <= 2.6 * before.count(f"b{who}")


def test_a_weight_that_doubles_moves_little_more_than_it_must() -> None:
    every = members(100)
    heavier = [replace(m, weight=200) if m.key == "b7" else m for m in every]
    before, after = owners(every), owners(heavier)
    assert after.count("b7") == pytest.approx(2 * before.count("b7"), rel=0.02)
    assert moved(before, after) <= 2.6 * (after.count("b7") - before.count("b7"))


def test_weight_0_gets_nothing_and_does_not_disturb_the_others() -> None:
    every = members(10)
    assert owners([*every, Member("idle", 0)]) == owners(every)


def test_with_nobody_up_every_slot_is_empty() -> None:
    for nobody in ([], [Member("a", 0)], [Member("a", 1, up=False), Member("b", 0)]):
        assert set(build_ring(nobody, 1024)) == {-1}


def test_one_backend_has_every_slot_and_the_last_one_up_too() -> None:
    assert set(owners(members(1))) == {"b0"}
    assert set(owners([replace(m, up=m.key == "b5") for m in members(300)], 32768)) == {"b5"}


def test_more_backends_than_slots_share_them_as_far_as_they_go() -> None:
    assert set(Counter(owners(members(100), 64)).values()) == {1}


@pytest.mark.parametrize("size", [0, 1000, -4])
def test_a_size_that_is_no_power_of_two_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="not a power of two"):
        build_ring(members(3), size)


def ramped(up: list[bool], who: int, share: float) -> list[str]:
    """The owners when one has a share only, whoever else is down."""
    some = [Member(f"b{n}", 10 + n, up=is_up) for n, is_up in enumerate(up)]
    return owners([replace(m, share=share) if n == who else m for n, m in enumerate(some)], 2048)


@settings(max_examples=40, deadline=None)
@given(patterns, st.integers(0, 11), st.integers(0, 11))
def test_a_growing_share_moves_slots_to_its_backend_only_and_each_once(up: list[bool], who: int, other: int) -> None:
    up[who], up[other] = True, True
    steps = [ramped(up, who, step / 16) for step in range(1, 17)]
    whole = [Member(f"b{n}", 10 + n, up=is_up) for n, is_up in enumerate(up)]

    assert steps[-1] == owners(whole, 2048)
    for before, after in pairwise(steps):
        changed = {slot for slot, owner in enumerate(before) if owner != after[slot]}
        assert all(after[slot] == f"b{who}" for slot in changed)


@pytest.mark.parametrize("others", [1, 11, 40])
def test_a_share_is_that_part_of_the_slots_and_the_others_keep_their_weights(others: int) -> None:
    """Also where so many have one that their slots are not sought one by one."""
    every = [Member(f"b{n}", 100, share=1.0 if n < 40 else 0.25) for n in range(40 + others)]
    count = Counter(owners(every, 65536))
    for n in range(40, 40 + others):
        assert count[f"b{n}"] == pytest.approx(65536 * 0.25 / (40 + 0.25 * others), rel=0.25)
    rest = [count[f"b{n}"] for n in range(40)]
    assert max(rest) < 1.15 * min(rest)


def test_who_alone_is_up_has_all_slots_whatever_its_share() -> None:
    few = [Member("a", 100, share=1 / 16), Member("b", 100, up=False)]
    assert set(owners(few, 1024)) == {"a"}
    assert set(owners([replace(few[0], share=0.001), few[1]], 2)) == {"a"}


def follow(of: list[Member], size: int, changes: list[dict[int, Member]]) -> Ring:
    """A ring that has followed these changes, of which each said exactly what it changed."""
    ring, now = Ring(of, size, "web"), list(of)
    ring.prepare()
    for changed in changes:
        before = ring.places[:]
        told = ring.change(changed)
        for at, member in changed.items():
            now[at] = member
        assert told == {
            slot: new for slot, (old, new) in enumerate(zip(before, ring.places, strict=True)) if old != new
        }
        assert ring.places == Ring(now, size, "web").places
    return ring


kinds = st.sampled_from([(True, 1.0), (False, 1.0), (True, 0.25), (True, 0.75), (False, 0.5)])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 11), kinds, max_size=6), max_size=8), st.sampled_from([64, 1024]))
def test_a_ring_that_follows_its_members_is_the_one_that_is_built(
    history: list[dict[int, tuple[bool, float]]], size: int
) -> None:
    some = [Member(f"b{n}", 10 * (n % 5)) for n in range(12)]  # also such without a weight
    changes = [{n: replace(some[n], up=up, share=share) for n, (up, share) in step.items()} for step in history]
    follow(some, size, changes)


@pytest.mark.parametrize(("size", "down"), [(4096, 57), (2 * LARGE, 30)])
def test_a_ring_follows_also_where_most_are_down_and_where_it_is_large(size: int, down: int) -> None:
    rng, some = Random(size), members(60)
    many = {n: replace(some[n], up=False) for n in rng.sample(range(60), down)}
    single = [{n: replace(some[n], up=rng.random() < 0.5)} for n in rng.sample(range(60), 8)]
    follow(some, size, [many, *single])


def test_a_backend_that_flaps_for_ever_takes_no_more_room() -> None:
    some = members(10)
    down = {n: replace(m, up=False) for n, m in enumerate(some)}
    ring = Ring([down[3], *some[1:]], 1024, "web")
    noted = []
    for _ in range(300):
        ring.change({5: down[5]})
        ring.change({5: some[5]})
        noted.append(sum(map(len, ring._ways.values())))
    assert max(noted) < 1024
    assert ring.places == Ring([down[3], *some[1:]], 1024, "web").places


def test_one_change_among_many_is_quick_and_the_last_one_down_is_not() -> None:
    some = members(300)
    ring = Ring(some, 32768, "web")
    assert ring.quick({7: replace(some[7], up=False)})
    assert not ring.quick({n: replace(m, up=False) for n, m in enumerate(some)})
    alone = Ring([some[0], *(replace(m, up=False) for m in some[1:])], 32768, "web")
    assert not alone.quick({9: some[9]})
