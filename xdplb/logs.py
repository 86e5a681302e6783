"""What the daemon logs: a sentence for people, and behind it the event's name and fields for machines.

Whoever logs says `log_event(log, logging.INFO, "backend_state", "web/b1 is down: refused", service="web", ...)`;
docs/logs.md lists all events. Here the record becomes text (`key=value`), JSON, or fields of the journal (`journal`).
Words of strangers, such as a server's answer in a cause, are never more than one line: what does not print is escaped.
Too many of the same are counted and not written: a fleet that flaps must not fill the disk.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any

from xdplb import journal
from xdplb.errors import ConfigError

SAME = 10  # about one subject (a backend, an interface) in a window, of one event
ALIKE = 600  # of one event in a window, whatever they are about
WINDOW_S = 60.0
SUBJECTS = ("service", "backend", "interface")  # fields that tell messages of one event apart

_PLAIN = re.compile(r"[\w.:/+@%,\[\]-]+")


class Format(StrEnum):
    """How records are written. `auto`: to the journal if that is where stderr leads, else as text."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


def log_event(log: logging.Logger, level: int, event: str, message: str, **fields: Any) -> None:
    """Log an event: a name of docs/logs.md, a whole sentence, and its values by name."""
    log.log(level, "%s", message, extra={"event": event, "fields": fields})


def log_bug(log: logging.Logger, message: str, error: BaseException) -> None:
    """Log what can only be a fault of this program, with its traceback."""
    log.critical("%s", message, exc_info=error, extra={"event": "bug", "fields": {}})


def escape(text: str) -> str:
    """Return a text without what does not print, newlines and terminal codes above all."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# --- too many ------------------------------------------------------------------------------------------------


class Limiter(logging.Filter):
    """Lets so many records through in a window, and tells in the next one how many it did not."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self._log = log
        self.total = 0  # suppressed, since the start
        self._began = time.monotonic()
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._suppressed: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written."""
        event, fields = getattr(record, "event", "other"), getattr(record, "fields", {})
        if event == "suppressed":
            return True
        self.tell()
        subject = tuple(str(fields[name]) for name in SUBJECTS if name in fields) or (record.getMessage(),)
        if self._seen[event,] < ALIKE and self._seen[event, *subject] < SAME:
            self._seen.update([(event,), (event, *subject)])
            return True
        self._suppressed[event] += 1
        self.total += 1
        return False

    def tell(self) -> None:
        """Begin another window when it is time, and log what was suppressed in the last one."""
        now = time.monotonic()
        if now - self._began < WINDOW_S:
            return
        suppressed, self._suppressed = self._suppressed, Counter()
        self._began, self._seen = now, Counter()
        for event, number in suppressed.items():
            message = f"{number:,} more messages of {event} in the last {WINDOW_S:g} s were suppressed"
            log_event(self._log, logging.WARNING, "suppressed", message, of=event, number=number)


LIMITER = Limiter(logging.getLogger("xdplb"))


# --- formats -------------------------------------------------------------------------------------------------


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return event and fields of a record; of a library's, where it comes from."""
    if hasattr(record, "event"):
        return {"event": record.event, **record.fields}  # type: ignore[attr-defined]
    return {"event": "other", "logger": record.name}


def _value(value: Any) -> str:
    text = escape(str(value))
    return text if _PLAIN.fullmatch(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class TextFormatter(logging.Formatter):
    """`17:03:11 I web/b1 is down: refused  event=backend_state service=web backend=b1 state=down cause=refused`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; behind it a traceback, if there is one."""
        fields = " ".join(f"{name}={_value(value)}" for name, value in _fields(record).items() if value is not None)
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{when} {record.levelname[0]} {escape(record.getMessage())}  {fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One object a line: `time` (RFC 3339, UTC), `level`, `message`, `event` and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document = {"time": f"{when}.{int(record.msecs):03}Z", "level": record.levelname.lower()}
        document |= {"message": record.getMessage(), **_fields(record)}
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)  # ASCII: JSON escapes the rest itself


class JournalHandler(logging.Handler):
    """Sends records to journald with their fields; what it does not take goes to stderr, which leads there too."""

    def __init__(self, path: Path = journal.SOCKET) -> None:
        super().__init__()
        self._journal, self._text = journal.Journal(path), logging.StreamHandler(sys.stderr)
        self._text.setFormatter(TextFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        fields = {name: escape(str(value)) for name, value in _fields(record).items() if value is not None}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        if not self._journal.send(record.levelno, escape(record.getMessage()), fields):
            self._text.emit(record)


# --- start ---------------------------------------------------------------------------------------------------


def begin(wanted: Format, level: str) -> None:
    """Log from here on. XDPLB_LOG may say the format, too. Raises ConfigError."""
    if wanted is Format.AUTO and (said := os.environ.get("XDPLB_LOG")):
        if said not in [*Format]:
            raise ConfigError("XDPLB_LOG", f"{said!r} is not known", f"set one of: {', '.join(Format)}")
        wanted = Format(said)
    handler: logging.Handler
    if wanted is Format.AUTO and journal.is_stderr():
        handler = JournalHandler()
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter() if wanted is Format.JSON else TextFormatter())
    handler.addFilter(LIMITER)
    logging.basicConfig(handlers=[handler], level=level.upper())
