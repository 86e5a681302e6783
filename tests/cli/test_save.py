"""The file is replaced as a whole, by one of the same owner and mode, and only when nobody else has changed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdplb.cli.save import _read_same, _replace
from xdplb.errors import ConfigError, DaemonError


def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    file, link = tmp_path / "real.toml", tmp_path / "link.toml"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)

    _replace(link, "old", "new")

    assert link.is_symlink()
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.toml", "real.toml"]


def test_what_somebody_else_wrote_meanwhile_stays(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("another's")
    with pytest.raises(DaemonError, match="was changed by somebody else at this moment"):
        _replace(file, "old", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["another's"]


def test_what_is_not_in_force_is_not_written_to(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("file")
    running = {"path": str(file), "text": "file", "applied_from": None, "unconfirmed": None}
    assert _read_same(running) == "file"
    for other, words in (
        ({"text": "other"}, "has changed since the daemon took it up"),
        ({"text": "other", "applied_from": "/new.toml"}, "/new.toml is in force; copy it to"),
        ({"unconfirmed": {}, "text": "other"}, "has changed since"),
        ({"unconfirmed": {"left_s": 3.0}}, "is not confirmed yet"),
        ({"path": str(tmp_path / "no")}, "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=words):
            _read_same({**running, **other})
