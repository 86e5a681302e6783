"""The head says what one must know first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.tui.scenes import first
from xdplb.tui.fake_daemon import small
from xdplb.tui.head import head_lines
from xdplb.tui.order import Dialog
from xdplb.tui.scene import Scene


def lines(scene: Scene, height: int = 24, **status: Any) -> list[str]:
    return [one.plain for one in head_lines(replace(scene, status=scene.status | status), 80, height)]


def test_an_unconfirmed_start_counts_down_and_says_how_to_confirm() -> None:
    trial = {"left_s": 17.4, "then": "the old program comes back", "failures": ["no reply from b1"]}
    scene = first(small())

    told = lines(scene, unconfirmed=trial)
    assert told[2].startswith("+1  unconfirmed: the old program comes back in 17 s unless `xdplb confirm`")
    tall = lines(scene, 60, unconfirmed=trial, warnings=["the MTU is small"])
    assert tall[2].startswith("unconfirmed: ")
    assert tall[3:5] == ["self-test: no reply from b1", "warning: the MTU is small"]


def test_more_warnings_than_fit_are_counted() -> None:
    scene, many = first(small()), [f"number {n}" for n in range(9)]

    assert lines(scene, warnings=many)[2] == "+8  warning: number 0"
    tall = lines(scene, 60, warnings=many)
    assert tall[5] == "+5  warning: number 3"


def test_an_interface_says_its_rates_and_what_is_wrong_with_it() -> None:
    daemon = small()
    scene = first(daemon)
    nic = scene.status["interface"]

    assert "eth0 native   rx " in lines(scene)[3]
    assert "tx 1." in lines(scene)[3]
    assert "xdp_tx_errors 0 (0/s)" in lines(scene)[3]
    for wrong, word in (
        ({"carrier": False}, "no carrier"),
        ({"up": False}, "switched off"),
        ({"program_id": None}, "no program"),
        ({"error": "eth0 has vanished"}, "has vanished"),
    ):
        assert word in lines(scene, interfaces=[nic | wrong])[3]
    assert "xdp_tx_errors unknown" in lines(scene, interfaces=[nic | {"xdp_tx_errors": None}])[3]
    two = lines(scene, interfaces=[nic, nic | {"name": "eth1", "carrier": False}])
    assert two[3].startswith("+1  eth1 native   no carrier")  # what is wrong comes first


def test_what_is_paused_or_read_only_says_so_beside_a_warning() -> None:
    scene = replace(first(small()), dialog=Dialog(read_only=True))

    assert lines(scene)[2].startswith("READ ONLY")
    assert lines(scene, warnings=["the MTU is small"])[2].startswith("READ ONLY")
    assert "warning: the MTU is small" in lines(scene, warnings=["the MTU is small"])[2]


def test_a_recording_says_where_it_is_and_never_that_the_daemon_is_gone() -> None:
    told = lines(replace(first(small()), playback="recording 3 s of 9 s, 1x", gone=True, age_s=99.0))

    assert told[0].endswith("recording 3 s of 9 s, 1x")
    assert not any("no answer" in one for one in told)
