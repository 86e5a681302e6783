"""What was recorded can be read again, from anywhere, also when the end is torn off."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdplb.errors import ConfigError
from xdplb.tui.recording import Recorder, Recording


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Answers at seconds 0 to 4, and an event in between."""
    path = tmp_path / "day.jsonl"
    recorder = Recorder(path)
    for second in range(5):
        recorder.write("status", {"now": second}, 100.0 + second)
        if second == 2:
            recorder.write("event", {"number": 7}, 102.5)
    recorder.close()
    return path


def test_it_is_read_by_time(file: Path) -> None:
    film = Recording(file)

    assert film.length_s == 4
    assert film.between(1.0, 2.5) == [("status", {"now": 2}), ("event", {"number": 7})]
    assert film.between(4.0, 9.0) == []
    assert film.until(2.9) == ([{"now": 0}, {"now": 1}, {"now": 2}], [{"number": 7}])
    assert film.until(0.0) == ([{"now": 0}], [])


def test_only_the_answers_that_rates_need_are_read(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "long")
    for second in range(100):
        recorder.write("status", {"now": second}, float(second))
    statuses, _ = Recording(tmp_path / "long").until(90.0)

    assert [statuses[0]["now"], statuses[-1]["now"]] == [61, 90]


def test_an_unfinished_end_is_left_away(file: Path) -> None:
    with file.open("a") as end:
        end.write('{"t": 5.000, "status": {"no')

    assert Recording(file).length_s == 4


def test_what_is_no_recording_is_said_with_its_line(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--replay: .*nothing: No such file or directory; name a file"):
        Recording(tmp_path / "nothing")
    (tmp_path / "empty").write_text("")
    with pytest.raises(ConfigError, match="has no answer of a daemon"):
        Recording(tmp_path / "empty")
    file.write_text(file.read_text() + "hello\n")
    with pytest.raises(ConfigError, match="line 7 is none of a recording"):
        Recording(file)
    file.write_text('{"t": 0.000, "status": {oh}}\n')
    with pytest.raises(ConfigError, match="line 1: "):
        Recording(file).until(0.0)


def test_a_file_that_is_there_is_not_overwritten(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--record: .*day.jsonl is there already; name another"):
        Recorder(file)
    with pytest.raises(ConfigError, match=r"--record: .*No such file or directory"):
        Recorder(tmp_path / "no" / "folder")
