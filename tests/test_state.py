"""What outlives the daemon is read back as it was written, and a broken file says so."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from xdplb import state
from xdplb.desired import Health, Overrides
from xdplb.errors import DaemonError
from xdplb.health.check import Memory
from xdplb.model import Backend
from xdplb.tables import Traffic

KEPT = state.Kept(
    Overrides(
        {"web": [Backend("b4", ip_address("fd00::4"), 7)]},
        {("web", "b1")},
        {("web", "b2"), ("web", "b3")},
        weights={("web", "b2"): 0},
        deadlines={("web", "b2"): 1_700_000_000.5},
        removing={("web", "b3"): 1_700_000_000.25},
    ),
    {("web", "b2"): Health(False, "refused")},
    {("web", "b2"): "10.0.0.2"},
    {1 << 63: Traffic(1, 2, 3)},
    {"passed_not_ip": 4},
    {"0123456789abcdef": Memory(False, "refused", 12.5, streak=1)},
    {("web", "b2"): 77.5},
)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "DIRECTORY", tmp_path)
    return tmp_path / "main"


def test_what_is_saved_is_loaded() -> None:
    assert state.load("main") == state.Kept()
    state.save("main", KEPT)
    assert state.load("main") == KEPT


def test_a_file_of_an_older_version_is_read(directory: Path) -> None:
    state.save("main", KEPT)
    path = directory / "state.json"
    raw = json.loads(path.read_text())
    del raw["ramps"], raw["checks"]
    for name in ("weights", "deadlines", "removing"):
        del raw["overrides"][name]
    path.write_text(json.dumps(raw))

    older = replace(KEPT.overrides, weights={}, deadlines={}, removing={})
    assert state.load("main") == replace(KEPT, overrides=older, checks={}, ramps={})


def test_after_a_reboot_changes_are_kept_and_health_and_counters_are_not(directory: Path) -> None:
    state.save("main", KEPT)
    path = directory / "state.json"
    path.write_text(path.read_text().replace('"boot": "', '"boot": "another'))

    assert state.load("main") == state.Kept(KEPT.overrides)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"boot": 1, "overrides": 3}'])
def test_a_broken_file_is_an_error_that_names_it(directory: Path, content: str) -> None:
    directory.mkdir()
    (directory / "state.json").write_text(content)
    with pytest.raises(DaemonError, match=r"state\.json cannot be read .*move it away"):
        state.load("main")


def test_a_failed_save_leaves_the_old_file(directory: Path) -> None:
    state.save("main", KEPT)
    (directory / "state.new").mkdir()
    with pytest.raises(DaemonError, match="cannot be written"):
        state.save("main", state.Kept())
    assert state.load("main") == KEPT


def test_hash_key_is_made_once_and_only_root_reads_it(directory: Path) -> None:
    key = state.hash_key("main")
    assert state.hash_key("main") == key
    assert len(key) == 32
    assert (directory / "hash_key").stat().st_mode & 0o777 == 0o600
