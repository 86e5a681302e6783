"""Which configuration is in force, for how long, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.reloading import DNS, TEXT, Reloading
from tools.lab.stand import wait_for
from xdplb.errors import ConfigError

WEIGHED = TEXT.replace('address = "10.0.12.2"', 'address = "10.0.12.2", weight = 7')


def test_another_file_is_in_force_and_what_a_restart_takes_is_told(reloading: Reloading, tmp_path: Path) -> None:
    before = reloading.client.status()["config"]["revision"]

    done = reloading.client.apply(TEXT + DNS, tmp_path / "other.toml")

    config = reloading.client.status()["config"]
    assert config["applied_from"] == done["applied_from"] == str(tmp_path / "other.toml")
    assert f"a restart reads {reloading.file}; copy {tmp_path}/other.toml there" in " ".join(done["warnings"])
    assert config["revision"] == done["revision"] != before
    reloading.put(TEXT)
    assert reloading.client.status()["config"]["applied_from"] is None
    assert reloading.client.status()["config"]["revision"] == before


def test_a_plan_says_what_applying_it_then_comes_to(reloading: Reloading) -> None:
    text = WEIGHED + DNS
    said = reloading.client.plan(text, measure_s=0.05)

    done = reloading.client.apply(text, reloading.file)

    moved = {s["name"]: s["slots_moved"] for s in said["services"]}
    assert (done["writes"], done["slots_moved"]) == (said["writes"], moved)
    assert said["services"][0]["flows"]["packets_per_s"] == 0
    assert said["differences"] == ["service dns added", "backend web/b2.weight: 100 -> 7"]
    assert reloading.client.plan(text)["writes"] == 0


def test_what_is_not_confirmed_goes_back_by_itself(reloading: Reloading) -> None:
    reloading.client.apply(WEIGHED, reloading.file, confirm_s=1.0)
    assert reloading.client.status()["unconfirmed"]["then"] == "puts the configuration before back"
    with pytest.raises(ConfigError, match="what was applied last is not confirmed"):
        reloading.client.reload()
    assert reloading.stand.backend("b2")["weight"] == 7

    wait_for(lambda: reloading.stand.backend("b2")["weight"] == 100, "the rollback", 5)

    wait_for(lambda: reloading.client.status()["config"]["error"], "the word", 5)
    status = reloading.client.status()
    assert "was not confirmed within 1 s" in status["config"]["error"]["what"]
    assert status["unconfirmed"] is None


def test_what_is_confirmed_stays(reloading: Reloading) -> None:
    reloading.client.weigh_backend("b2", None, 7)
    done = reloading.client.apply(WEIGHED, reloading.file, confirm_s=2.0)
    assert done["changes"] == ["backend web/b2 has weight 7"]  # it may be needed again

    assert reloading.client.confirm() == {"confirmed": True}

    assert reloading.client.confirm() == {"confirmed": False}
    status = reloading.client.status()
    assert (status["unconfirmed"], status["config"]["error"]) == (None, None)
    assert status["config"]["changes"] == []
    assert reloading.stand.backend("b2")["weight"] == 7
