"""The audit log: lines that can be read back, files that do not grow, a full disk that is told and stops nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from xdplb import audit
from xdplb.audit import Audit, shorten


@pytest.fixture
def log(tmp_path: Path) -> Audit:
    """One in a folder that is not there yet."""
    found = Audit("main", 1000)
    found.path = tmp_path / "state" / "audit.jsonl"
    return found


def write(log: Audit, who: str = "root", status: int = 200, **more: object) -> None:
    log.write(who, "PUT", "/v1/backends/b1/drain", status, 0.0123, **more)


def test_a_change_is_one_line_that_only_root_may_read(log: Audit, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "xdplb.audit"):
        write(log, uid=0, content={"weight": 5})
    (entry,) = log.read()
    assert {**entry, "at": 0} == {
        **{"number": 1001, "at": 0, "who": "root", "method": "PUT", "path": "/v1/backends/b1/drain"},
        **{"status": 200, "took_ms": 12.3, "uid": 0, "content": {"weight": 5}},
    }
    assert (log.path.stat().st_mode & 0o777, log.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert caplog.messages == ["root: PUT /v1/backends/b1/drain: 200"]
    assert caplog.records[0].fields["content"] == {"weight": 5}  # type: ignore[attr-defined]


def test_lines_are_read_from_a_number_on_and_the_last_ones(log: Audit) -> None:
    for _ in range(5):
        write(log)
    assert [entry["number"] for entry in log.read(1002)] == [1003, 1004, 1005]
    assert [entry["number"] for entry in log.read(1001, 2)] == [1004, 1005]


def test_files_do_not_grow_without_end(log: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    write(log)
    monkeypatch.setattr(audit, "FILE_BYTES", 4 * log.path.stat().st_size)
    for _ in range(20):
        write(log)
    assert all(path.stat().st_size <= audit.FILE_BYTES for path in log.files)
    numbers = [entry["number"] for entry in log.read()]
    assert numbers == list(range(numbers[0], 1022))
    assert 4 < len(numbers) <= 8


def test_a_full_disk_is_told_once_and_stops_nothing(log: Audit, caplog: pytest.LogCaptureFixture) -> None:
    log.path.parent.mkdir()
    log.path.symlink_to("/dev/full")
    write(log)
    write(log)
    assert [m for m in caplog.messages if "cannot be written (No space left on device)" in m] == log.warnings
    log.path.unlink()
    write(log)
    assert (log.warnings, len(log.read())) == ([], 1)


def test_a_line_that_was_cut_short_hides_no_other(log: Audit) -> None:
    write(log)
    log.path.write_text('{"number": 1, "at\n' + log.path.read_text())
    assert [entry["number"] for entry in log.read()] == [1001]


def test_who_knocks_all_day_fills_nothing(log: Audit) -> None:
    for _ in range(100):
        write(log, "mallory", 403)
    write(log)
    assert len(log.read()) in (audit.REFUSALS + 1, 2 * audit.REFUSALS + 1)  # a minute may have ended meanwhile


def test_long_content_is_shortened() -> None:
    content = {"config": "x" * 5000, "list": list(range(1000)), "n": 1}
    short = shorten(content)
    assert short["config"] == "x" * 200 + "... (5000 characters)"
    assert len(json.dumps(short)) < 2000
