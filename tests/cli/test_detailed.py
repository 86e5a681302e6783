"""0 is no change, 2 is changes, 1 is every error, whoever made it."""

from __future__ import annotations

import click
import pytest

from xdplb.cli.detailed import Detailed
from xdplb.errors import ConfigError


@click.command(cls=Detailed)
@click.argument("number", type=int)
def answer(number: int) -> int:
    """End with this, or with an error for 7."""
    if number == 7:
        raise ConfigError("number", "is 7", "give another")
    return number


@pytest.mark.parametrize(("typed", "status"), [(["0"], 0), (["2"], 2), (["7"], 1), (["x"], 1), ([], 1), (["--no"], 1)])
def test_statuses(typed: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert (answer.main(typed, standalone_mode=False) or 0) == status
    assert ("number: is 7; give another" in capsys.readouterr().err) == (typed == ["7"])
