"""Who serves when too few are up, and in which words that is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.rig.checks import World
from tests.rig.packets import BACKENDS4, config, hop, service, tcp
from tests.rig.xdp import Action, Xdp
from xdplb.desired import Health, Memo, Overrides, desire
from xdplb.model import Backend, State, WhenAllDown
from xdplb.serving import Count, Lent, Serve, Verdict, decide, with_fallback
from xdplb.slots import member

ONE, TWO, THREE = (("web", b.name) for b in BACKENDS4)
KEEP: dict[str, Any] = {"when_all_down": WhenAllDown.KEEP}
FALLBACK: dict[str, Any] = {"when_all_down": WhenAllDown.FALLBACK, "fallback": "spare"}
SPARE = service("spare", backends=[Backend("s1", BACKENDS4[2].address + 9, 7)])
SPARE = replace(SPARE, vips=(replace(SPARE.vips[0], port=81),))


@pytest.mark.parametrize(
    ("settings", "count", "serve"),
    [
        ({}, Count(0, 3), Serve.UP),
        ({"panic_percent": 50}, Count(2, 2), Serve.UP),  # not below
        ({"panic_percent": 50}, Count(1, 2), Serve.ALL),
        ({"panic_percent": 50}, Count(1, 2, checking=7, others=7), Serve.ALL),  # these do not count
        ({"panic_percent": 50}, Count(0, 2), Serve.ALL),
        ({"panic_percent": 50}, Count(0, 0, checking=3), Serve.UP),
        ({"panic_percent": 100}, Count(3, 0), Serve.UP),
        ({"panic_percent": 100}, Count(99, 1), Serve.ALL),
        (KEEP, Count(1, 2), Serve.UP),
        (KEEP, Count(0, 1), Serve.ALL),
        (KEEP, Count(0, 0, others=2), Serve.UP),
        (FALLBACK, Count(1, 2, lent=2), Serve.UP),
        (FALLBACK, Count(0, 3, lent=2), Serve.LENT),
        (FALLBACK, Count(0, 3, lent=0), Serve.UP),
        (FALLBACK, Count(0, 0, checking=3, lent=2), Serve.UP),  # nothing is known yet
        (FALLBACK, Count(0, 0, checking=1, others=1, lent=2), Serve.LENT),
        (FALLBACK, Count(0, 0, others=3, lent=2), Serve.LENT),  # unreachable, or all draining
        (FALLBACK, Count(0, 0, lent=2), Serve.LENT),  # it has none
        (FALLBACK | {"panic_percent": 50}, Count(0, 3, lent=2), Serve.LENT),
        (FALLBACK | {"panic_percent": 50}, Count(1, 3, lent=2), Serve.ALL),
        (FALLBACK | {"panic_percent": 50}, Count(0, 3, lent=0), Serve.ALL),
    ],
)
def test_who_serves(settings: dict[str, Any], count: Count, serve: Serve) -> None:
    assert decide(service(**settings), count).serve is serve


def test_it_says_why() -> None:
    assert decide(service(panic_percent=50), Count(1, 3)).why == "panic, 1 of 4 up is below 50 %"
    assert decide(service(**KEEP), Count(0, 3)).why == 'none of 3 is up and when_all_down = "keep"'
    assert decide(service(**FALLBACK), Count(0, 2, others=1, lent=1)).why == "none of web's own 3 can serve"
    assert decide(service(), Count(1, 3)) == Verdict()


def test_backends_that_are_lent_have_names_that_no_backend_of_a_file_can_have() -> None:
    lending = with_fallback(service(**FALLBACK), [service(), SPARE])
    assert lending.backends[:3] == service().backends
    assert lending.backends[3] == Lent("spare/s1", SPARE.backends[0].address, 7, "spare", "s1")
    assert with_fallback(service(), [SPARE]) == service()


def test_in_panic_each_reason_says_so_and_rows_of_the_down_may_keep_flows() -> None:
    world = World(config(service(panic_percent=50)))
    world.set({ONE: False, TWO: False})
    panic = "panic, 1 of 3 up is below 50 %"
    assert world.reasons() == {
        ONE[1]: f"down: {panic}: gets new flows all the same; refused",
        TWO[1]: f"down: {panic}: gets new flows all the same; refused",
        THREE[1]: f"up: well; {panic}",
    }
    assert [b.serves for b in world.services[0].backends] == [True] * 3
    assert [b.row.up for b in world.services[0].backends if b.row] == [True] * 3
    world.set({ONE: True})
    assert [b.serves for b in world.services[0].backends] == [True, False, True]
    assert [b.row.up for b in world.services[0].backends if b.row] == [True, False, True]


def test_panic_does_not_wake_who_drains_or_has_no_weight_or_is_in_maintenance() -> None:
    backends = [*BACKENDS4, replace(BACKENDS4[0], name="idle", address=BACKENDS4[0].address + 1, weight=0)]
    world = World(config(service(backends=backends, panic_percent=90)))
    world.overrides = Overrides(draining={ONE})
    world.health[TWO] = Health(False, "its agent says maintenance", drain=True)
    world.set({ONE: False, ("web", "idle"): False})
    assert [b.serves for b in world.services[0].backends] == [False, False, True, False]
    assert "panic" not in world.reasons()[THREE[1]]  # the only one that counts is up


def test_a_fallback_says_what_it_is_and_keeps_its_flows_afterwards() -> None:
    world = World(config(service(**FALLBACK), SPARE))
    lent = world.services[0].backends[3]
    assert (lent.lent_by, lent.state, lent.serves) == ("spare", State.IDLE, False)
    assert lent.reason == "a fallback, not needed now; well"
    world.set({ONE: False, TWO: False, THREE: False})
    assert world.reasons()["spare/s1"] == "up: none of web's own 3 can serve: serves for them; well"
    world.set({ONE: True})
    lent = world.services[0].backends[3]
    assert lent.row
    assert (lent.row.up, lent.serves, lent.state) == (True, False, State.IDLE)
    world.set({("spare", "s1"): False})
    assert world.reasons()["spare/s1"] == "down: a fallback, not needed now; refused"
    assert world.services[1].backends[0].identity != lent.identity


def test_a_fallback_that_an_operator_drains_gets_no_new_flows_here_either() -> None:
    world = World(config(service(**FALLBACK), SPARE))
    world.overrides = Overrides(draining={("spare", "s1")})
    world.set({ONE: False, TWO: False, THREE: False})
    assert set(world.slots()) == {""}
    assert world.services[0].backends[3].state is State.DRAINING


def test_a_fallback_without_checks_is_up() -> None:
    world = World(config(service(**FALLBACK), replace(SPARE, checks=())))
    world.health.pop(("spare", "s1"))
    world.set({ONE: False, TWO: False, THREE: False})
    assert set(world.slots()) == {"spare/s1"}


def test_the_ring_of_a_service_is_not_changed_by_having_a_fallback() -> None:
    many = replace(SPARE, backends=tuple(Backend(f"s{n}", SPARE.backends[0].address + n) for n in range(40)))
    with_it, without = World(config(service(**FALLBACK), many)), World(config(service()))
    assert with_it.services[0].ring_size == without.services[0].ring_size
    assert [member(b).weight for b in with_it.services[0].backends][3:] == [0] * 40


def test_with_a_memo_panic_comes_and_goes_as_without() -> None:
    conf = config(service(panic_percent=50), service("api", **FALLBACK), SPARE)
    hops = {b.address: hop(4) for s in conf.services for b in s.backends}
    health = {(s.name, b.name): Health(True, "well") for s in conf.services for b in s.backends}
    memo = Memo()
    for key in [ONE, TWO, THREE, ("api", ONE[1]), ("api", TWO[1]), ("api", THREE[1]), ("spare", "s1"), ONE, TWO, THREE]:
        health = health | {key: Health(not health[key].up, "turned")}
        assert desire(conf, Overrides(), health, hops, memo) == desire(conf, Overrides(), health, hops)
    drained, lost = Overrides(draining={("spare", "s1")}), hops | {SPARE.backends[0].address: "no route"}
    assert desire(conf, drained, health, hops, memo) == desire(conf, drained, health, hops)
    assert desire(conf, drained, health, lost, memo) == desire(conf, drained, health, lost)
    desire(conf, drained, health, hops, memo)
    other_words = health | {("spare", "s1"): replace(health["spare", "s1"], cause="in other words")}
    assert desire(conf, drained, other_words, hops, memo) == desire(conf, drained, other_words, hops)


def test_the_program_sends_new_flows_to_who_is_down_when_keep_is_said_and_drops_them_otherwise(xdp: Xdp) -> None:
    down = {b.name for b in BACKENDS4}
    xdp.serve(config(service(**KEEP)), down)
    assert xdp.run(tcp())[0] is Action.TX
    xdp.serve(config(service()), down)
    assert xdp.run(tcp())[0] is Action.DROP
