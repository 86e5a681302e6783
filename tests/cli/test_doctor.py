"""`xdplb doctor`: what is printed, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from tests.rig.boxes import box
from xdplb.cli.doctor import _show, document
from xdplb.cli.main import cli
from xdplb.doctor.facts import Box
from xdplb.doctor.finding import Finding, Unchecked
from xdplb.errors import XdplbError

FOUND = [
    Finding("lro", "LRO is on at eth0", ("ethtool -K eth0 lro off",)),
    Finding("backend-tunnel", "a backend of web: b1", ("xdplb decap status",), "b1"),
]


def shown(box: Box, findings: Sequence[Finding], capsys: pytest.CaptureFixture[str]) -> list[str]:
    _show(box, findings)
    return capsys.readouterr().out.splitlines()


def test_a_line_for_each_finding_comes_before_the_details(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(box(unchecked=(Unchecked("the clock", "no word"),)), FOUND, capsys)

    assert lines[0] == "1 error, 1 warning ('main', /etc/xdplb.toml)"
    assert lines[1].split(maxsplit=1)[0] == "error"
    assert lines[2].split(maxsplit=1)[0] == "warning"
    assert "  fix: ethtool -K eth0 lro off" in lines
    assert "  on b1: xdplb decap status" in lines
    assert lines[-2:] == ["not checked:", "  the clock: no word"]


def test_a_healthy_box_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(box(), [], capsys) == ["nothing is wrong ('main', /etc/xdplb.toml)"]


def test_json_has_everything() -> None:
    made = json.loads(json.dumps(document(box(), FOUND)))
    assert made["findings"][1] == {
        "id": "backend-tunnel",
        "severity": "warning",
        "seen": "a backend of web: b1",
        "why": FOUND[1].why,
        "fixes": ["xdplb decap status"],
        "where": "b1",
    }
    assert made["unchecked"] == []


@pytest.mark.root
def test_a_file_named_in_vain_is_wrong_usage() -> None:
    done = CliRunner().invoke(cli, ["doctor", "/nonexistent.toml"])
    assert isinstance(done.exception, XdplbError)
    assert done.exception.status == 2
    assert "/nonexistent.toml: cannot be read" in str(done.exception)
