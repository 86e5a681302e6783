"""Who is suspected when: short dialogues, and good and bad traffic simulated (tests/rig/clients.py)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from tests.rig.clients import World
from xdplb.health.passive import LEAST, MEMORY_S, SPACING_S, Counts, Judge

WEB = {1: "web", 2: "web", 3: "web"}
LOOK_S = 0.025
SLOW, NEAR = (0.3,), (0.0005,)
MIXED = (0.001, 0.02, 0.05, 0.3)


class Talk:
    """Readings one after the other: what each backend gets in each, as (started, progressed, repeated)."""

    def __init__(self, members: dict[int, str]) -> None:
        self.judge, self.now = Judge(), 100.0
        self.judge.follow(members)
        self.counts = dict.fromkeys(members, Counts())
        self.judge.rebase(self.counts)

    def read(self, news: Mapping[int, tuple[int, ...]], times: int = 1) -> list[int]:
        found = []
        for _ in range(times):
            self.now += LOOK_S
            for backend, more in news.items():
                last = self.counts[backend]
                self.counts[backend] = Counts(*(a + b for a, b in zip(last, (*more, 0, 0)[:3], strict=True)))
            found += self.judge.judge(self.now, {backend: self.counts[backend] for backend in news})
        self.said = found[-1].cause if found else ""
        return [suspicion.backend for suspicion in found]


GOOD = {1: (10, 10), 2: (10, 10), 3: (10, 10)}
DEAD = GOOD | {3: (10, 0)}


def after_good_traffic(members: dict[int, str] = WEB) -> Talk:
    talk = Talk(members)
    assert talk.read(dict.fromkeys(members, (10, 10)), times=100) == []
    return talk


def test_a_backend_that_gets_on_with_nobody_while_others_do_is_suspected_at_once() -> None:
    talk = after_good_traffic()

    assert talk.read(DEAD) == [3]
    assert talk.said == "no connection was answered in 25 ms, of 10 sampled ones"


def test_too_few_attempts_say_nothing_until_there_are_enough() -> None:
    talk = after_good_traffic()
    few = int(LEAST) - 1

    assert talk.read(GOOD | {3: (few, 0)}) == []
    assert talk.read(GOOD | {3: (few, 0)}) == [3]


def test_syns_that_come_again_count_too_and_are_told() -> None:
    talk = after_good_traffic()

    assert talk.read(GOOD | {3: (0, 0, 10)}) == [3]
    assert talk.said.endswith("of 10 sampled ones (10 SYNs came again)")


def test_progress_forgives_what_was_before() -> None:
    talk = after_good_traffic()
    for _ in range(100):
        assert talk.read(GOOD | {3: (4, 0)}) == []
        assert talk.read(GOOD | {3: (4, 4)}) == []


def test_nobody_is_suspected_when_nobody_gets_on() -> None:
    talk = after_good_traffic()
    assert talk.read(dict.fromkeys(WEB, (10, 0)), times=400) == []


def test_other_services_are_no_measure() -> None:
    talk = after_good_traffic({1: "web", 2: "web", 3: "dns", 4: "dns"})

    assert talk.read({1: (10, 10), 2: (10, 10), 3: (10, 0), 4: (10, 0)}, times=100) == []
    assert talk.read({1: (10, 10), 2: (10, 0), 3: (10, 10), 4: (10, 10)}) == [2]


def test_a_backend_is_suspected_once_in_a_second_and_less_and_less() -> None:
    talk = after_good_traffic()
    whole = round(60 / LOOK_S)
    times = [n * LOOK_S for n in range(whole) if talk.read(DEAD)]

    assert min(b - a for a, b in pairwise(times)) >= SPACING_S - LOOK_S / 2
    assert 2 <= len(times) <= 4 * MEMORY_S


def test_who_never_got_on_is_suspected_for_a_while_and_then_left_alone() -> None:
    talk = after_good_traffic({1: "web", 2: "web"})
    talk.judge.follow(WEB)
    talk.counts[3] = Counts()

    found = talk.read(DEAD, times=4000)

    assert set(found) == {3}
    assert 1 <= len(found) <= 4 * MEMORY_S


def test_a_lone_backend_is_compared_with_its_own_past() -> None:
    talk = after_good_traffic({1: "web"})
    assert talk.read({1: (10, 0)}) == [1]

    fresh = Talk({1: "web"})
    assert fresh.read({1: (10, 0)}, times=400) == []  # it may never have got on


def test_a_flood_upon_a_lone_backend_does_not_hide_the_pace_of_its_progress() -> None:
    talk = Talk({1: "web"})
    talk.read({1: (1, 1)}, times=200)

    for _ in range(200):
        assert talk.read({1: (500, 0)}) == []  # one should have got on: that may be chance
        assert talk.read({1: (501, 1)}) == []
    assert talk.read({1: (501, 0)}, times=200)  # but not this


def test_counters_that_begin_anew_or_wrap_say_what_they_mean() -> None:
    talk = after_good_traffic()
    talk.counts[3] = Counts()
    assert talk.read(GOOD | {3: (0, 0)}) == []
    talk.judge.rebase({3: Counts(2**32 - 5, 2**32 - 5, 0)})
    talk.counts = {1: Counts(), 2: Counts(), 3: Counts(2**32 - 5, 2**32 - 5)}
    talk.now += LOOK_S
    wrapped = {1: Counts(10, 10), 2: Counts(10, 10), 3: Counts(5, 2**32 - 5)}

    assert [s.backend for s in talk.judge.judge(talk.now, wrapped)] == [3]


def test_numbers_of_other_tables_are_only_a_place_to_go_on_from() -> None:
    talk = after_good_traffic()
    talk.judge.rebase({n: Counts(1000, 0, 0) for n in WEB})
    talk.counts = dict.fromkeys(WEB, Counts(1000, 0, 0))

    assert talk.read(GOOD, times=100) == []
    assert talk.read(DEAD) == [3]


def test_who_is_followed_no_more_is_forgotten_and_the_others_are_not() -> None:
    talk = after_good_traffic()
    talk.judge.follow({2: "web", 3: "web"})

    assert talk.read({2: (10, 10), 3: (10, 0)}) == [3]
    assert talk.judge.judge(talk.now + 1, {1: Counts(10_000)}) == []


# --- simulated ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("backends", [4, 2, 1])
def test_a_server_that_is_killed_is_suspected_within_75_ms(backends: int, silent: bool) -> None:
    """2,000 requests a second over four; every backend gets 500 here."""
    late = []
    for seed in range(12):
        world = World(seed, backends, 500 * backends, dies={0: 2.0 + 0.0031 * seed}, silent=silent)
        found = world.run(2.2)
        assert {backend for _, backend, _ in found} == {0}
        late.append(found[0][0] - world.first_failing[0])
    assert min(late) > 0
    assert max(late) < 0.075


@pytest.mark.parametrize(("rtts", "within_s"), [((0.01,), 0.1), (MIXED, 0.45), (SLOW, 0.45)])
def test_with_longer_round_trips_those_on_their_way_come_first(rtts: tuple[float, ...], within_s: float) -> None:
    for seed in range(4):
        world = World(seed, rtts=rtts, dies={0: 3.0})
        found = world.run(3.0 + within_s)
        assert {backend for _, backend, _ in found} == {0}


@pytest.mark.parametrize("rtts", [NEAR, (0.01,), SLOW, MIXED], ids=str)
@pytest.mark.parametrize(
    ("rate", "seconds"), [(1, 300), (10, 300), (100, 100), (1000, 15), (10_000, 2), (100_000, 0.5)]
)
def test_good_traffic_accuses_hardly_anybody(rate: int, seconds: float, rtts: tuple[float, ...]) -> None:
    assert len(World(rate, rate=rate, rtts=rtts).run(seconds)) <= 1


@pytest.mark.parametrize("rtts", [NEAR, SLOW, MIXED], ids=str)
@pytest.mark.parametrize(("rate", "seconds", "backends"), [(20, 30, 4), (20, 30, 1), (200, 6, 4), (2000, 1, 4)])
def test_a_flood_of_a_hundred_times_the_traffic_accuses_hardly_anybody(
    rate: int, seconds: float, backends: int, rtts: tuple[float, ...]
) -> None:
    world = World(rate, backends, rate, flood=100 * rate, flood_from=seconds / 3, rtts=rtts)
    assert len(world.run(seconds)) <= 1


def test_in_a_flood_a_dead_backend_is_still_found() -> None:
    world = World(3, flood=40_000, flood_from=2.0, dies={2: 4.0})
    found = world.run(4.6)
    assert {backend for _, backend, _ in found} == {2}
    assert found[0][0] < 4.3


def test_a_flood_alone_accuses_nobody() -> None:
    found: list[Any] = World(4, rate=0.001, flood=5000).run(20)
    assert found == []


def test_clients_who_come_after_a_silence_with_long_round_trips_accuse_hardly_anybody() -> None:
    found = [world.run(12) for world in (World(n, rtts=SLOW, warm_s=10.0) for n in range(4))]
    assert sum(map(len, found)) <= 1
