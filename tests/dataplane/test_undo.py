"""The guardian's two halves: when it acts, and that everything is then as it was."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.lab.net import Lab
from xdplb.dataplane import loader, syscall
from xdplb.dataplane.undo import Words, linked, note, put_back, wait

PASS = bytes.fromhex("b700000002000000 9500000000000000")  # mov r0, XDP_PASS; exit
ETH0 = 2
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pipe() -> Iterator[tuple[Words, int]]:
    heard, said = os.pipe()
    yield Words(heard), said
    os.close(heard)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"attaching\nconfirmed\n", "confirmed"),
        (b"confirmed\n", "confirmed"),
        (b"attaching\n", None),  # the time is over
    ],
)
def test_it_waits_for_a_word(pipe: tuple[Words, int], said: bytes, heard: str | None) -> None:
    words, end = pipe
    os.write(end, said)
    assert wait(words, 0.05) == heard
    os.close(end)


@pytest.mark.parametrize("said", [b"", b"attaching\n", b"attaching\nconfir"])
def test_the_daemons_end_is_heard_at_once_whatever_it_said_before(pipe: tuple[Words, int], said: bytes) -> None:
    words, end = pipe
    os.write(end, said)
    os.close(end)
    assert wait(words, 3600) == ""


def test_the_time_runs_from_the_attach_on(pipe: tuple[Words, int]) -> None:
    words, end = pipe
    os.write(end, b"atta")
    assert words.next(0.02) is None
    os.write(end, b"ching\n")
    assert words.next(0.02) == "attaching"
    os.close(end)


def pin_program(place: loader.Place, layout: str) -> loader.Pinned:
    """A program with its pin and file, as of one layout."""
    folder = place.pins / layout
    folder.mkdir()
    fd = syscall.load_xdp(PASS, layout)
    syscall.pin(fd, folder / "program_code")
    os.close(fd)
    (place.run / f"layout_{layout}.json").write_text("{}")
    return loader.Pinned(folder, folder / "program_code", {}, adopted=False)


def everything(place: loader.Place) -> tuple[dict[int, int], set[Path], dict[str, str]]:
    programs = {index: link.program_id for index, link in linked(place).items()}
    files = {path.name: path.read_text() for path in place.run.glob("*.json")}
    return programs, set(place.pins.rglob("*")), files


def test_what_was_not_there_is_gone(lab: Lab, place: loader.Place) -> None:
    with lab.inside("lb"):
        before, was = note(place, {}), everything(place)
        loader.attach(place, pin_program(place, "new"), "eth0", ETH0, "native")

        assert put_back(place, before, "native") == ["eth0: the program is off"]

        assert everything(place) == was == ({}, set(), {})
        assert put_back(place, before, "native") == []


@pytest.mark.parametrize("forget", [False, True])
def test_what_was_replaced_is_back_even_if_its_pin_was_removed(lab: Lab, place: loader.Place, forget: bool) -> None:
    with lab.inside("lb"):
        old = pin_program(place, "old")
        (place.run / "spec.json").write_text("old")
        link = loader.attach(place, old, "eth0", ETH0, "native")
        before, was = note(place, {ETH0: "native"}), everything(place)
        new = pin_program(place, "new")
        loader.attach(place, new, "eth0", ETH0, "native")
        (place.run / "spec.json").write_text("new")
        if forget:
            old.program.unlink()

        assert put_back(place, before, "native") == ["eth0: the program before is back"]

        programs, pins, files = everything(place)
        assert (programs, files) == (was[0], was[2])
        assert pins == was[1] - ({old.program} if forget else set())
        assert loader.attached(place, ETH0) == link
        assert put_back(place, before, "native") == []


def test_another_mode_is_taken_back_too(lab: Lab, place: loader.Place) -> None:
    with lab.inside("lb"):
        old = pin_program(place, "old")
        loader.attach(place, old, "eth0", ETH0, "generic")
        before, was = note(place, {ETH0: "generic"}), everything(place)
        loader.detach(place)
        loader.attach(place, old, "eth0", ETH0, "native")

        assert put_back(place, before, "native") == ["eth0: the program before is back"]

        assert everything(place) == was
        assert "xdpgeneric" in lab.run("lb", ["ip", "link", "show", "eth0"]).stdout


def test_what_was_taken_off_meanwhile_is_attached_again(lab: Lab, place: loader.Place) -> None:
    with lab.inside("lb"):
        loader.attach(place, pin_program(place, "old"), "eth0", ETH0, "native")
        before, was = note(place, {ETH0: "native"}), everything(place)
        loader.detach(place)

        assert put_back(place, before, "native") == ["eth0: the program before is back"]

        assert everything(place) == was


def test_an_interface_that_is_gone_is_told_and_the_rest_is_done(lab: Lab, place: loader.Place) -> None:
    with lab.inside("lb"):
        lab.run("lb", ["ip", "link", "add", "dummy0", "type", "veth", "peer", "name", "peer0"])
        index = socket.if_nametoindex("dummy0")
        loader.attach(place, pin_program(place, "old"), "dummy0", index, "native")
        before = note(place, {index: "native"})
        loader.attach(place, pin_program(place, "new"), "eth0", ETH0, "native")
        lab.run("lb", ["ip", "link", "del", "dummy0"])

        off, gone = put_back(place, before, "native")

        assert off == "eth0: the program is off"
        assert gone == f"interface number {index}: the program before could not be attached again (it has vanished)"
        assert linked(place) == {}


def test_a_daemon_that_slept_too_long_cannot_leave_anything_attached(lab: Lab, place: loader.Place) -> None:
    """It may have been stopped right before it attached: what it does on waking is undone at its end."""
    order = {"name": place.name, "seconds": 0.05, "mode": "native", "modes": {}}
    with lab.inside("lb"):
        argv = [sys.executable, "-m", "xdplb.dataplane.undo"]
        guardian = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert guardian.stdin
        assert guardian.stdout
        print(json.dumps(order), "attaching", sep="\n", file=guardian.stdin, flush=True)
        said = [guardian.stdout.readline(), guardian.stdout.readline()]
        assert said == ["ready\n", "undone nothing had been attached\n"]
        loader.attach(place, pin_program(place, "late"), "eth0", ETH0, "native")

        guardian.stdin.close()

        assert guardian.wait(5) == 1
        guardian.stdout.close()
        assert everything(place) == ({}, set(), {})
