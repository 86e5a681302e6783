"""The bench of the command line runs what a user would, and says what takes its time."""

from __future__ import annotations

import sys

import pytest

from tools import bench_cli


def test_commands_are_measured_and_those_that_are_late_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_cli, "LIMITS_MS", {"status": 0.1})
    assert bench_cli.main(1) == 1
    told = capsys.readouterr().out
    assert "too slow" in told
    assert "\nstatus: " in told


def test_the_heaviest_imports_come_first() -> None:
    found = bench_cli.imports([sys.executable, "-c", "import xdplb.cli.main"])
    assert len(found) == bench_cli.HEAVIEST
    assert found == sorted(found, reverse=True)
