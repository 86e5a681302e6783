"""What the file has that is not in force, as phrases and as a diff; and what neither has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.rig.reloading import DNS, TEXT
from xdplb.cli.diff import compare, lines


def test_differences_are_told_as_phrases_and_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "xdplb.toml"
    path.write_text(TEXT.replace("[balancer]", "[balancer]\nmtu = 1400") + DNS)
    running = {"path": str(path), "applied_from": None, "text": TEXT, "changes": ["backend web/b3 draining"]}

    told = list(lines(compare(running)))

    assert told[:3] == [
        f"{path} differs from what is in force; `xdplb reload` would take it up:",
        "  service dns added",
        "  balancer.mtu: none -> 1400",
    ]
    assert "+mtu = 1400" in told
    assert told[-2:] == ["changed at run time, and not in the file:", "  backend web/b3 draining"]


def test_a_file_that_is_equal_wrong_or_gone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "xdplb.toml"
    running: dict[str, Any] = {"path": str(path), "applied_from": None, "text": TEXT, "changes": []}
    assert "cannot be read" in next(lines(compare(running)))
    path.write_text(TEXT)
    assert list(lines(compare(running))) == [f"{path} says all that is in force"]
    path.write_text("# one more comment\n" + TEXT)
    assert "  nothing but its layout and comments" in lines(compare(running))
    path.write_text("[balancer")
    assert "is wrong, so a reload or restart would be refused: syntax: is not TOML" in next(lines(compare(running)))
