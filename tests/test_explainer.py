"""Explaining from the pins: what is loaded is found, and what is not is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest
from scapy.layers.inet import TCP

from tests.rig.packets import VIP4, config, frame, service, tcp
from tests.rig.xdp import Xdp
from xdplb.dataplane import loader
from xdplb.errors import ConfigError, KernelError
from xdplb.explain.story import Arrival
from xdplb.explain.world import Names
from xdplb.explainer import Explainer, explain_frames, find_loaded


@pytest.fixture
def loaded(xdp: Xdp) -> Iterator[Xdp]:
    """The program with one service, and the note that a daemon leaves beside it."""
    xdp.serve(config(service()))
    note = {"version": "0", "layout": xdp.kernel.pinned.folder.name, "spec": asdict(xdp.kernel.spec)}
    (xdp.place.run / "spec.json").write_text(json.dumps(note))
    yield xdp
    (xdp.place.run / "spec.json").unlink(missing_ok=True)


def test_frames_are_explained_without_a_daemon(loaded: Xdp) -> None:
    explainer = Explainer(loaded.place)

    told = explainer.explain([bytes(tcp()), bytes(tcp(dport=81))], "lo")

    assert [one["reason"] for one in told] == [None, "passed_no_service"]
    assert told[0]["warnings"] == ["the program is not attached to lo; it is on none; start the daemon"]
    assert told[0]["in"] == {"name": "lo", "index": 1}
    assert told[1]["cause"] == f"no VIP {VIP4}:81/tcp; this address has 80/tcp"
    explainer.close()


def test_the_copy_is_kept_and_follows(loaded: Xdp) -> None:
    explainer = Explainer(loaded.place)
    before = explainer.explain([bytes(tcp())])[0]

    loaded.apply(())

    assert before["reason"] is None
    assert explainer.explain([bytes(tcp())])[0]["reason"] == "passed_no_service"
    explainer.close()
    assert explainer.explain([bytes(tcp())])[0]["reason"] == "passed_no_service"
    explainer.close()


def test_what_the_program_remembered_meanwhile_is_known(loaded: Xdp) -> None:
    explainer = Explainer(loaded.place)
    first = frame(TCP(sport=4000, dport=80) / bytes(4), VIP4, flags="MF", id=7)
    later = bytes(frame(bytes(8), VIP4, proto=6, frag=3, id=7))
    assert explainer.explain([later])[0]["reason"] == "dropped_fragment"

    loaded.run(first)

    assert explainer.explain([later])[0]["reason"] is None
    explainer.close()


def test_another_program_has_another_copy(loaded: Xdp) -> None:
    explainer = Explainer(loaded.place)
    spec, pinned = find_loaded(loaded.place)
    shadow = explainer._shadow_of(spec, pinned)

    assert explainer._shadow_of(spec, pinned) is shadow
    assert explainer._shadow_of(spec, replace(pinned, adopted=False)) is not shadow
    explainer.close()


def test_an_interface_that_is_not_there_is_told(loaded: Xdp) -> None:
    with pytest.raises(ConfigError, match="in: there is no interface 'eth77'; the program is attached to no interface"):
        Explainer(loaded.place).explain([bytes(tcp())], "eth77")


def test_without_a_program_that_is_told(loaded: Xdp) -> None:
    with pytest.raises(KernelError, match="no program of 'nobody' is loaded; start it with `xdplb run CONFIG`"):
        find_loaded(loader.Place("nobody"))
    (loaded.place.run / "spec.json").write_text('{"layout": "x", "spec": {}}')
    with pytest.raises(KernelError, match="loaded by another version of xdplb"):
        find_loaded(loaded.place)


def test_a_table_of_names_is_not_needed(loaded: Xdp) -> None:
    explainer = Explainer(loaded.place)
    spec, pinned = find_loaded(loaded.place)
    shadow = explainer._shadow_of(spec, pinned)

    told = list(explain_frames(loaded.kernel, shadow, [bytes(tcp())], Arrival(1, "lo"), Names()))

    assert told[0]["backend"]["name"] is None
    explainer.close()
