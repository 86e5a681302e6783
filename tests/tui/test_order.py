"""An order is asked about, confirmed, sent, and told; nothing else reaches the daemon."""

from __future__ import annotations

from typing import Any

import pytest

from xdplb.errors import ConfigError, DaemonError
from xdplb.tui.order import Ask, Dialog, Order, Step, Verb, foresee, outcome

DRAIN = Order(Verb.DRAIN, "web", "b2")
WEIGH = Order(Verb.WEIGHT, "web", "b2")
SERVICE: dict[str, Any] = {"name": "web", "change": "changed", "slots_moved": 341, "ring_size": 1024}
PLAN = {"services": [{**SERVICE, "flows": {"remembered": 120, "in_transition": 0}}]}
DONE = {
    "backends": [{"service": "web", "name": "b2", "state": "draining", "reason": "by an operator"}],
    "writes": 345,
    "took_ms": 3.1,
}


def test_draining_is_a_dialogue() -> None:
    dialog, asks = Dialog().begin(DRAIN, alone=False)
    assert asks == [Ask(DRAIN, plan=True)]
    dialog = dialog.take(asks[0], PLAN)
    assert dialog.step is Step.CONFIRM
    assert dialog.text == "341 of 1,024 slots move; flows stay (120 remembered)"
    dialog, asks = dialog.handle("y")
    assert asks == [Ask(DRAIN, plan=False)]
    dialog = dialog.take(asks[0], DONE)
    assert (dialog.step, dialog.wrong) == (Step.TOLD, False)
    assert dialog.text == "web/b2 is draining (by an operator); 345 map entries written in 3.1 ms"


@pytest.mark.parametrize("key", ["n", "escape", "q"])
def test_what_is_not_confirmed_is_not_sent(key: str) -> None:
    dialog = Dialog().begin(DRAIN, alone=False)[0].take(Ask(DRAIN, True), PLAN)

    assert dialog.handle(key) == (Dialog(), [])
    assert dialog.handle("d") == (dialog, [])


def test_a_weight_is_typed_first() -> None:
    dialog, asks = Dialog().begin(WEIGH, alone=False)
    assert asks == []
    for key in ("enter", "x", "1", "2", "backspace", "5", "0", "²"):
        dialog, asks = dialog.handle(key)
        assert asks == []
    assert dialog.text == "150"
    dialog, asks = dialog.handle("enter")
    order = Order(Verb.WEIGHT, "web", "b2", 150)
    assert asks == [Ask(order, plan=True)]
    assert str(order) == "give web/b2 weight 150"


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    begun = Dialog().begin(DRAIN, alone=False)[0]
    other = Order(Verb.DRAIN, "web", "b1")

    assert begun.take(Ask(other, True), PLAN) == begun
    assert begun.closed().take(Ask(DRAIN, True), PLAN) == Dialog()
    assert begun.take(Ask(DRAIN, False), DONE) == begun


def test_errors_of_the_daemon_are_told() -> None:
    dialog = Dialog().begin(DRAIN, alone=False)[0].take(Ask(DRAIN, True), ConfigError("backend", "is gone", "look"))

    assert (dialog.step, dialog.text, dialog.wrong) == (Step.TOLD, "backend: is gone; look", True)
    assert not dialog.read_only


def test_who_may_not_change_is_told_and_remembered_until_he_may() -> None:
    refused = DaemonError("your role is read", 403)
    dialog = Dialog().begin(DRAIN, alone=False)[0].take(Ask(DRAIN, True), refused)

    assert dialog.read_only
    assert dialog.closed().read_only
    assert dialog.take(Ask(DRAIN, True), DaemonError("is gone")).read_only
    again = dialog.begin(DRAIN, alone=False)[0].take(Ask(DRAIN, True), PLAN)
    assert not again.read_only


def test_a_plan_in_words() -> None:
    uncounted = {"services": [{**SERVICE, "flows": {"remembered": None, "in_transition": None}}]}

    assert foresee(DRAIN, uncounted) == "341 of 1,024 slots move; flows stay (not counted yet)"
    assert foresee(DRAIN, {"services": [{**SERVICE, "change": "kept"}]}) == "nothing would change"
    assert foresee(DRAIN, {"services": []}) == "nothing would change"
    assert outcome(DONE).endswith("345 map entries written in 3.1 ms")
