"""Events are told once, each on a line, also those of kinds that we do not know."""

from __future__ import annotations

from typing import Any

from xdplb.tui.journal import Journal, event_line, pane, subject

AT = 1_700_000_000.0


def event(number: int = 1, **rest: Any) -> dict[str, Any]:
    return {"number": number, "at": AT, **rest}


def told(**rest: Any) -> str:
    return event_line(event(**rest), 120, AT).plain[10:]  # without the time


def test_states_are_told_with_their_cause() -> None:
    assert told(service="web", backend="b2", was="up", state="down", cause="refused") == "web/b2 up → down: refused"
    assert told(service="web", backend="b2", was=None, state="up", cause="new") == "web/b2 added, up: new"
    assert told(service="web", backend="b2", was="up", state=None, cause="removed") == "web/b2 gone: removed"
    assert told(kind="backend", service="web", backend="b2", was="up", state="down", cause="x") == "web/b2 up → down: x"
    assert told(kind="backend", service="web", backend="b2", was="up", state=None, cause="x") == "web/b2 gone: x"


def test_unknown_kinds_are_told_by_their_name_with_all_they_have() -> None:
    assert told(kind="reload", who="uid 0", file="x.toml") == "xdplb reload by uid 0  file=x.toml"
    assert told(kind="weight", who="ann", service="web", backend="b1", was=None, state=None, cause="100 -> 50") == (
        "web/b1 weight by ann: 100 -> 50"
    )
    assert told(kind="drain", service="web", backend="b1", was="up", state="draining", cause="") == (
        "web/b1 drain up → draining"
    )


def test_another_day_is_told_with_its_date() -> None:
    assert event_line(event(kind="x"), 80, AT).plain[2] == ":"
    assert event_line(event(kind="x"), 80, AT + 86400).plain.startswith("2023-11-1")


def test_a_line_fits_and_is_not_obeyed() -> None:
    long = event_line(event(kind="x", cause="\x1b[2J" + "y" * 300), 80, AT)

    assert long.cell_len == 80
    assert "\x1b" not in long.plain


def test_an_event_that_is_told_again_is_taken_once() -> None:
    journal = Journal()
    for number in (1, 2, 1, 2, 3):
        journal.take(event(number))

    assert [one["number"] for one in journal.events] == [1, 2, 3]
    assert journal.last == 3


def test_the_pane_has_the_newest_and_says_why_there_are_none() -> None:
    journal = Journal()
    for number in range(1, 10):
        journal.take(event(number, kind=f"kind-{number}"))

    assert [one.plain.split()[-1] for one in pane(journal, 80, 2, AT)] == ["kind-8", "kind-9"]
    assert pane(journal, 80, 0, AT) == []
    journal.problem = "no daemon answers"
    assert [one.plain for one in pane(journal, 80, 2, AT)] == ["no events: no daemon answers"]
    journal.take(event(10))
    assert journal.problem == ""


def test_whom_it_is_about() -> None:
    assert subject({"service": "web", "backend": "b1"}) == "web/b1"
    assert subject({"service": "web", "backend": None}) == "web"
    assert subject({}) == "xdplb"
