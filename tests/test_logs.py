"""Events are logged with their fields, in every format; nobody's words break a line, and no flood fills a disk."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_journal import decode
from xdplb import logs
from xdplb.errors import ConfigError
from xdplb.logs import JournalHandler, JsonFormatter, Limiter, TextFormatter, log_bug, log_event

EVIL = 'refused\n00:00:00 I web/b2 is up\x1b[2J\x9b31m "quoted" \u202e\u2028'


class Lines(logging.Handler):
    """Keeps what is written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A log that leads only where a test lets it."""
    logger = logging.Logger("xdplb", logging.INFO)
    yield logger
    logger.handlers.clear()


def say(log: logging.Logger, cause: str = "tcp refused", backend: str = "b1") -> None:
    text = f"web/{backend} is down: {cause}"
    fields = {"service": "web", "backend": backend, "state": "down", "cause": cause, "was": None}
    log_event(log, logging.INFO, "backend_state", text, **fields)


def written(log: logging.Logger, formatter: logging.Formatter, limiter: Limiter | None = None) -> list[str]:
    lines = Lines(formatter)
    if limiter:
        lines.addFilter(limiter)
    log.addHandler(lines)
    return lines.lines


def test_text_has_the_sentence_first_and_then_the_fields(log: logging.Logger) -> None:
    lines = written(log, TextFormatter())
    say(log)
    (line,) = lines
    fields = 'event=backend_state service=web backend=b1 state=down cause="tcp refused"'
    assert line[8:] == f" I web/b1 is down: tcp refused  {fields}"


def test_json_is_one_object_a_line(log: logging.Logger) -> None:
    lines = written(log, JsonFormatter())
    say(log, EVIL)
    (line,) = lines
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "message": f"web/b1 is down: {EVIL}",
        "event": "backend_state",
        "service": "web",
        "backend": "b1",
        "state": "down",
        "cause": EVIL,
        "was": None,
    }
    assert line.isascii()
    assert line.isprintable()


def test_words_of_strangers_stay_in_their_line(log: logging.Logger) -> None:
    lines = written(log, TextFormatter())
    say(log, EVIL)
    (line,) = lines
    assert line.isprintable()
    assert r"refused\n00:00:00 I web/b2 is up\x1b[2J\x9b31m" in line
    assert line.endswith(r'"refused\\n00:00:00 I web/b2 is up\\x1b[2J\\x9b31m \"quoted\" \\u202e\\u2028"')


def test_the_journal_gets_fields(log: logging.Logger, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        journald.settimeout(5)
        log.addHandler(JournalHandler(tmp_path / "socket"))
        say(log, EVIL)
        told = decode(journald.recv(65536))
    assert (told["SERVICE"], told["BACKEND"], told["STATE"], told["PRIORITY"]) == ("web", "b1", "down", "6")
    assert told["CAUSE"].isprintable()
    assert "WAS" not in told


def test_a_bug_has_its_traceback_in_every_format(log: logging.Logger) -> None:
    text, objects = written(log, TextFormatter()), written(log, JsonFormatter())
    log_bug(log, "a probe could not begin", ValueError("oh"))
    assert text[0].endswith("event=bug\nValueError: oh")
    assert json.loads(objects[0])["traceback"] == "ValueError: oh"


def test_what_others_log_goes_the_same_way(log: logging.Logger) -> None:
    lines = written(log, TextFormatter())
    log.warning("from %s\n", "aiohttp")
    assert lines[0].endswith(r"W from aiohttp\n  event=other logger=xdplb")


def test_one_backend_that_flaps_is_told_ten_times_a_minute_and_then_how_often(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = Limiter(log)
    lines = written(log, TextFormatter(), limiter)
    for number in range(1000):
        say(log, f"tcp refused after 0.{number} ms")
    say(log, backend="b2")
    assert len(lines) == logs.SAME + 1
    assert limiter.total == 1000 - logs.SAME

    monkeypatch.setattr(logs, "WINDOW_S", 0.0)  # the next window has come
    limiter.tell()
    monkeypatch.undo()
    assert " W 990 more messages of backend_state in the last " in lines[-1]
    assert lines[-1].endswith("event=suppressed of=backend_state number=990")
    say(log)
    assert "web/b1 is down" in lines[-1]


def test_a_fleet_that_flaps_does_not_fill_the_disk(log: logging.Logger) -> None:
    lines = written(log, TextFormatter(), Limiter(log))
    for _ in range(3):
        for number in range(10_000):
            say(log, backend=f"b{number}")
    log_event(log, logging.ERROR, "reconcile_failed", "reconcile: no memory", error="no memory")
    assert len(lines) == logs.ALIKE + 1
    assert "no memory" in lines[-1]  # others are heard all the same
    assert sum(map(len, lines)) < 100_000


def test_a_format_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDPLB_LOG", "xml")
    with pytest.raises(ConfigError, match=r"XDPLB_LOG: 'xml' is not known; set one of: auto, text, json"):
        logs.begin(logs.Format.AUTO, "info")
