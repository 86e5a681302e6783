"""`xdplb plan` and `--plan` say what would change, in plain words, and change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.net import QUICKSTART
from tools.lab.stand import Stand
from xdplb.cli.plan import lines


def test_a_plan_is_told_in_a_line_for_each_thing() -> None:
    web = {
        "name": "web",
        "change": "changed",
        "slots_moved": 341,
        "ring_size": 1024,
        "share": 341 / 1024,
        "stay": True,
        "flows": {"remembered": 1200, "in_transition": 7, "connections_per_s": 12.0, "packets_per_s": 3400.0},
        "backends": [{"name": "b2", "change": "changed", "detail": "weight 100 -> 7"}],
    }
    others = [
        {
            **web,
            "name": "old",
            "change": "removed",
            "backends": [],
            "flows": {**dict.fromkeys(("remembered", "in_transition", "connections_per_s", "packets_per_s"))},
        },
        {**web, "name": "new", "change": "added", "backends": []},
        {**web, "name": "dns", "change": "kept"},
    ]
    document = {
        "services": [web, *others],
        "settings": ["balancer.mtu: none -> 1400"],
        "program": {
            "recompiled": True,
            "compiled_in": ["gue4"],
            "compiled_out": ["ipip4", "l2"],
            "tables_made_anew": True,
        },
        "memory": {"before": 3 << 20, "after": 6 << 20},
        "warnings": ["look out"],
        "down": {"new": "b1 is down (refused)"},
        "unknown": ["web/b4"],
        "writes": 9,
    }

    assert list(lines(document)) == [
        "service web: 341 of 1,024 slots (33 %) would move; 1,200 remembered flows of those who lose them, "
        "7 in transition",
        "  what would move gets 12 new connections and 3,400 packets a second (measured); how many flows that is, is "
        "not counted in settled slots",
        "  flows of backends that stay go on where they are",
        "  b2 changed: weight 100 -> 7",
        "service old: removed, with its 1,024 slots; remembered flows are not counted yet",
        "service new: added, with 1,024 slots",
        "balancer.mtu: none -> 1400",
        "program: compiled anew with gue4 without ipip4, l2",
        "tables: made anew, 3.0 MiB before and 6.0 MiB after",
        "not known yet, counted as up: web/b4",
        "warning: look out",
        "warning: service new: no backend would get new flows: b1 is down (refused)",
        "as now: dns",
        "9 map entries would be written; nothing was changed",
    ]


def test_a_changed_file_is_planned_and_nothing_changes(running: Stand, tmp_path: Path) -> None:
    before = running.client.status()["services"]
    changed = tmp_path / "changed.toml"
    text = QUICKSTART.read_text().replace("[[service]]", "[[service]]\nring_size = 1024", 1)
    changed.write_text(text.replace('name = "b2"', 'name = "b9"', 1).replace("10.0.12.2", "10.0.12.99"))

    done = running.run("plan", str(changed))

    assert done.returncode == 2, done.stderr
    assert "service web: " in done.stdout
    assert "  b9 added: 10.0.12.99\n  b2 removed: 10.0.12.2" in done.stdout
    assert "service.web.ring_size: none -> 1024" in done.stdout
    assert "not known yet, counted as up: web/b9" in done.stdout
    slots = [[b["slots"] for b in s["backends"]] for s in running.client.status()["services"]]
    assert slots == [[b["slots"] for b in s["backends"]] for s in before]
    assert running.run("plan", str(QUICKSTART)).stdout.endswith(
        "as now: web\n0 map entries would be written; nothing was changed\n"
    )


def test_a_wrong_file_is_the_error_of_check_config(running: Stand, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(QUICKSTART.read_text() + "\nwieght = 3\n")
    planned, checked = running.run("plan", str(wrong)), running.run("check-config", str(wrong))
    assert planned.stderr == checked.stderr
    assert (planned.returncode, checked.returncode) == (1, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["drain", "b2"], "b2 changed: up -> draining (drained by an operator;"),
        (["drain", "b2", "--for", "10m"], "b2 changed: up -> draining (drained by an operator until "),
        (["remove", "b2"], "b2 changed: up -> draining (removed when its flows are gone, at the latest "),
        (["remove", "b2", "--now"], "b2 removed: 10.0.12.2"),
        (["weight", "b2", "0"], "b2 changed: weight 100 -> 0; up -> idle"),
        (["add", "web", "10.0.12.99", "--backend-name", "b9"], "b9 added: 10.0.12.99"),
        (["undrain", "b2"], "0 map entries would be written"),
    ],
)
def test_a_single_change_is_planned_and_nothing_changes(running: Stand, change: list[str], words: str) -> None:
    done = running.run("backend", *change, "--plan")
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert done.stdout.endswith("; nothing was changed\n")
    assert running.client.status()["config"]["changes"] == []
