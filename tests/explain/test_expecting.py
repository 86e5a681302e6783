"""Where program and tables do not agree, that is told and not hidden."""

from __future__ import annotations

from tests.rig.explaining import explained, outcome, world
from tests.rig.packets import tcp
from xdplb.explain.expecting import expect
from xdplb.explain.places import Places
from xdplb.explain.words import lines


def test_another_backend_than_the_slots_is_told_loudly() -> None:
    there = world()
    slot = expect(there, Places(there.spec, there.tables), bytes(tcp())).slot
    assert slot
    other = next(index for index in there.tables.backends if index != slot.chosen)

    told = explained(there, tcp(), outcome(None, bytes(tcp()), other))

    what = f"the program sends to {there.backend(other)}, and its tables say {there.backend(slot.chosen)}"
    assert told["disagreements"] == [f"{what}: this is a bug of xdplb, please report it with this packet"]
    assert list(lines(told))[1].startswith("DISAGREEMENT: the program sends to ")
    assert explained(there, tcp(), outcome(None, bytes(tcp()), slot.chosen))["disagreements"] == []


def test_another_end_than_the_tables_say_is_told() -> None:
    told = explained(world(), tcp(), outcome("passed_no_service"))

    assert told["disagreements"][0].startswith(
        "the program says passed_no_service, and its tables say dropped_no_headroom or forwarded: "
    )
