"""`apply`, `diff`, `save`, `reload` and `confirm` as an operator types them, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

from tests.rig.reloading import DNS, TEXT, Reloading
from xdplb.cli.apply import tell

DONE = {
    "took_s": 0.251,
    "writes": 1345,
    "slots_moved": {"web": 341, "dns": 0},
    "changes": ["backend web/b3 draining"],
    "warnings": ["look out"],
    "unconfirmed": {"left_s": 59.7, "then": "puts the configuration before back", "failures": []},
}


def test_what_it_came_to_is_told() -> None:
    assert list(tell(DONE)) == [
        "taken up in 0.25 s: 1,345 map entries written; slots moved: web 341",
        "changed since the file: backend web/b3 draining",
        "warning: look out",
        "unconfirmed: puts the configuration before back in 60 s unless `xdplb confirm`",
    ]
    assert list(tell({**DONE, "slots_moved": {}, "changes": [], "warnings": [], "unconfirmed": None})) == [
        "taken up in 0.25 s: 1,345 map entries written; slots moved: none"
    ]


def test_a_file_is_shown_applied_compared_and_confirmed(reloading: Reloading, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(TEXT + DNS)
    assert reloading.stand.run("diff").returncode == 0

    done = reloading.stand.run("apply", str(other), "--confirm", "60s", "--yes")

    assert done.returncode == 0, done.stderr
    assert "service dns: added, with " in done.stdout
    assert "taken up in " in done.stdout
    assert done.stdout.endswith("unless `xdplb confirm`\n")
    assert reloading.stand.run("confirm").stdout == "confirmed: it stays\n"
    compared = reloading.stand.run("diff")
    assert compared.returncode == 2
    assert f"in force: {other}; a restart takes {reloading.file}" in compared.stdout
    assert "  service dns removed\n" in compared.stdout
    assert reloading.stand.run("plan", str(other)).returncode == 0


def test_errors_end_with_1_where_2_means_changes(reloading: Reloading, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(TEXT + "\nwieght = 3\n")
    for arguments in (["plan", str(wrong)], ["apply", str(wrong)], ["diff", "--nothing"]):
        done = reloading.stand.run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr


def test_run_time_changes_are_saved_and_then_forgotten(reloading: Reloading) -> None:
    commented = TEXT.replace('name = "b2"', 'name = "b2" ', 1).replace("[[service]]", "# ours\n[[service]]")
    reloading.put(commented)
    reloading.client.weigh_backend("b2", None, 7)
    reloading.client.drain_backend("b3", None)

    tried = reloading.stand.run("save", "--dry-run")
    assert "1 changes would be written; nothing was" in tried.stdout
    assert reloading.file.read_text() == commented
    done = reloading.stand.run("save")

    assert done.returncode == 0, done.stderr
    assert "stays a run-time change: backend web/b3 is draining\n" in done.stdout
    assert reloading.file.read_text() == commented.replace('"10.0.12.2"', '"10.0.12.2", weight = 7')
    assert reloading.client.status()["config"]["changes"] == ["backend web/b3 draining"]
    assert reloading.stand.backend("b2")["weight"] == 7
    reloading.file.write_text(TEXT)
    refused = reloading.stand.run("save")
    assert refused.returncode == 2
    assert "has changed since the daemon took it up; look with `xdplb diff`" in refused.stderr
    answered = json.loads(reloading.stand.run("reload", "--json").stdout)
    assert answered["changes"] == ["backend web/b3 draining"]  # the weight was the file's by then
