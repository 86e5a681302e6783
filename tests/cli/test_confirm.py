"""`xdplb confirm`, and what `run --confirm` takes."""

from __future__ import annotations

import pytest

from tests.cli.test_main import xdplb
from xdplb.cli.run import parse_confirm
from xdplb.errors import ConfigError


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("2m", 120), ("45", 45), ("1.5s", 1.5), ("1h", 3600)])
def test_times(text: str, seconds: float) -> None:
    assert parse_confirm(text, True) == seconds


@pytest.mark.parametrize(
    ("text", "self_test", "words"),
    [
        ("soon", False, "--confirm: 'soon' is no duration; write"),
        ("-5", False, "--confirm: '-5' is no duration"),
        ("30 s", False, "--confirm: '30 s' is no duration"),
        ("0", False, "--confirm: 0.0 is out of range; give 1.0 to 86400.0"),
        ("48h", False, "--confirm: 172800.0 is out of range"),
        (None, True, "--self-test: does nothing without --confirm; add --confirm 30s"),
    ],
)
def test_what_cannot_be_is_told_with_the_fix(text: str | None, self_test: bool, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_confirm(text, self_test)
    assert str(caught.value).startswith(words)


def test_without_either_nothing_is_on_trial() -> None:
    assert parse_confirm(None, False) is None


def test_without_a_daemon_there_is_nobody_to_confirm_to() -> None:
    done = xdplb("--name", "nobody", "confirm")
    assert done.returncode == 1
    assert done.stderr.startswith("xdplb: no daemon answers at /run/xdplb/nobody/admin.sock")


def test_a_duration_that_is_none_is_refused_before_anything_is_looked_at() -> None:
    done = xdplb("run", "/nonexistent.toml", "--confirm", "soon")
    assert done.returncode == 2
    assert done.stderr.startswith("xdplb: --confirm: 'soon' is no duration")
