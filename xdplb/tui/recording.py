"""Recordings of what the daemon said: a JSON line for each answer and event, with the time since the beginning.

{"t": 1.002, "status": {...}}
{"t": 1.340, "event": {...}}

Only the beginnings of lines are kept in memory: an hour of 1,000 backends is 700 MB.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from xdplb.errors import ConfigError
from xdplb.tui.journal import Event
from xdplb.tui.rates import Status

_HEAD = re.compile(rb'\{"t": (\d+(?:\.\d+)?), "(status|event)": \{')
_BEFORE = 30  # answers before a place in a recording that are needed to know rates and shares there


class Recorder:
    """Writes a recording."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file cannot be written, or is there already."""
        try:
            self._file: IO[str] = path.open("x", encoding="utf-8")
        except FileExistsError:
            raise ConfigError("--record", f"{path} is there already", "name another file, or remove that one") from None
        except OSError as error:
            raise ConfigError("--record", f"{path}: {error.strerror}", "name a file that can be written") from None
        self._began: float | None = None

    def write(self, kind: str, document: dict[str, Any], at: float) -> None:
        """Append a "status" or an "event" as of second `at` of a clock that only goes forward."""
        if self._began is None:
            self._began = at
        self._file.write(f'{{"t": {max(0.0, at - self._began):.3f}, "{kind}": {json.dumps(document)}}}\n')
        self._file.flush()

    def close(self) -> None:
        """End the recording."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Line:
    """Where something stands in a recording."""

    t: float
    kind: str
    offset: int
    size: int


class Recording:
    """Reads a recording."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when it cannot be read, or is none."""
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise ConfigError("--replay", f"{path}: {error.strerror}", "name a file that --record wrote") from None
        self.path = path
        self.lines = self._index()
        self.times = [line.t for line in self.lines]
        if not any(line.kind == "status" for line in self.lines):
            raise ConfigError("--replay", f"{path} has no answer of a daemon", "name a file that --record wrote")

    @property
    def length_s(self) -> float:
        """How long it takes."""
        return self.times[-1]

    def _index(self) -> list[Line]:
        """Find all lines. The last one may be unfinished: whoever wrote it was killed."""
        found: list[Line] = []
        offset, last = 0, 0.0
        for number, text in enumerate(self._file, 1):
            head = _HEAD.match(text)
            if head is None or not text.endswith(b"}}\n"):
                if not text.endswith(b"\n"):
                    break
                raise ConfigError("--replay", f"{self.path}: line {number} is none of a recording", "see docs/top.md")
            last = max(last, float(head[1]))
            found.append(Line(last, head[2].decode(), offset, len(text)))
            offset += len(text)
        return found

    def read(self, line: Line) -> dict[str, Any]:
        """Return what stands in a line. Raises ConfigError."""
        self._file.seek(line.offset)
        try:
            document: dict[str, Any] = json.loads(self._file.read(line.size))[line.kind]
        except ValueError as error:
            number = self.lines.index(line) + 1
            raise ConfigError("--replay", f"{self.path}: line {number}: {error}", "see docs/top.md") from None
        return document

    def between(self, after: float, until: float) -> list[tuple[str, dict[str, Any]]]:
        """Return what came in this time: kind and document."""
        first, last = bisect_right(self.times, after), bisect_right(self.times, until)
        return [(line.kind, self.read(line)) for line in self.lines[first:last]]

    def until(self, t: float) -> tuple[list[Status], list[Event]]:
        """Return what one has to know at this time: the last answers, at least one, and all events before."""
        lines = self.lines[: bisect_right(self.times, t)]
        statuses = [line for line in lines if line.kind == "status"][-_BEFORE:]
        if not statuses:
            statuses = [next(line for line in self.lines if line.kind == "status")]
        return [self.read(line) for line in statuses], [self.read(line) for line in lines if line.kind == "event"]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
