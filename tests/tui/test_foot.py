"""The foot tells what is lost, what was asked, and what can be pressed."""

from __future__ import annotations

from dataclasses import replace

from tests.tui.scenes import first
from xdplb.tui.fake_daemon import small
from xdplb.tui.foot import dialog_lines, foot_lines
from xdplb.tui.order import Dialog, Order, Step, Verb
from xdplb.tui.view import Place, Screen, View

DRAIN = Order(Verb.DRAIN, "web", "b2")


def told(dialog: Dialog) -> str:
    return "\n".join(one.plain for one in dialog_lines(dialog, 80))


def test_each_step_of_an_order_has_its_words() -> None:
    assert "weight of web/b2: 15 " in told(Dialog(Step.TYPING, DRAIN, "15"))
    assert told(Dialog(Step.ASKING, DRAIN)) == "drain web/b2? asking the daemon what that would do; Esc drops"
    assert told(Dialog(Step.CONFIRM, DRAIN, "341 of 1,024 slots move")) == "drain web/b2? 341 of 1,024 slots move. y/n"
    assert told(Dialog(Step.SENT, DRAIN)) == "drain web/b2: sent"
    assert told(Dialog(Step.TOLD, DRAIN, "done")) == "done"
    assert told(Dialog()) == ""


def test_who_drains_the_last_one_is_warned_in_red() -> None:
    warned = dialog_lines(Dialog(Step.CONFIRM, DRAIN, "x", alone=True), 80)

    assert warned[0].plain == "no other backend of this service serves: new flows would be dropped"
    assert warned[0].spans[0].style == "bold red"


def test_a_long_answer_is_wrapped_but_does_not_fill_the_screen() -> None:
    assert len(dialog_lines(Dialog(Step.TOLD, DRAIN, "word " * 200, wrong=True), 80)) == 3


def test_every_screen_says_its_keys_on_the_last_line() -> None:
    scene = first(small())
    for screen in Screen:
        last = foot_lines(replace(scene, view=View(places=(Place(screen),))), 80, 24)[-1]
        assert "q" in last.plain or "Esc" in last.plain
        assert last.cell_len <= 80


def test_a_recording_has_keys_of_its_own() -> None:
    assert "space pause" in foot_lines(replace(first(small()), playback="recording"), 80, 24)[-1].plain
