"""Who changed what, and when: one JSON line for each change, in files that do not grow without end.

A disk that takes no line must not stop a change in an emergency: it is told instead, in the log and in `status`.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xdplb import state
from xdplb.logs import log_event

log = logging.getLogger("xdplb.audit")

FILE_BYTES = 4 << 20  # then the file becomes the old one, and the old one goes
REFUSALS = 10  # of one caller that are written in a minute: others' changes must not be rotated away by knocking
LONGEST = 200  # characters of one value


class Audit:
    """The log of one balancer."""

    def __init__(self, name: str, first: int = 0) -> None:
        """`first`: where numbers begin; with the time in ms, those of two lives of a daemon are told apart."""
        self.path = state.directory(name) / "audit.jsonl"
        self._last = first
        self._refusals: dict[str, int] = {}
        self._minute = 0
        self.warnings: list[str] = []

    @property
    def files(self) -> tuple[Path, Path]:
        """Where lines are, the older ones first."""
        return self.path.with_suffix(".old.jsonl"), self.path

    def write(self, who: str, method: str, path: str, status: int, took_s: float, **more: Any) -> None:
        """Keep one line: `more` is what the caller is known by, and `content` what was asked for."""
        if status == 403 and self._too_many(who):
            return
        self._last += 1
        entry = {"number": self._last, "at": round(time.time(), 3), "who": who, "method": method, "path": path}
        entry |= {"status": status, "took_ms": round(took_s * 1e3, 1), **more}
        text = f"{who}: {method} {path}: {status}"
        given = {"who": who, "method": method, "path": path, "status": status, "took_ms": entry["took_ms"]}
        log_event(log, logging.INFO, "audit", text, **given, **more)
        try:
            self._append(json.dumps(entry) + "\n")
            self.warnings = []
        except OSError as error:
            why = f"{self.path} cannot be written ({error.strerror})"
            text = f"{why}: changes are in the daemon's log only; free space there"
            if not self.warnings:
                log_event(log, logging.ERROR, "audit_unsaved", text)
            self.warnings = [text]

    def _append(self, line: str) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size + len(line) > FILE_BYTES:
            self.path.replace(self.files[0])
        with open(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb", buffering=0) as file:
            size, whole = file.tell(), line.encode()
            if file.write(whole) != len(whole):  # a disk that is full takes a part first
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _too_many(self, who: str) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._refusals = minute, {}
        self._refusals[who] = self._refusals.get(who, 0) + 1
        return self._refusals[who] > REFUSALS

    def read(self, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Return the last `limit` lines that came after a number; those that a full disk cut short are left out."""
        found = [entry for entry in self._entries() if entry["number"] > after]
        return found[-limit:]

    def _entries(self) -> Iterator[dict[str, Any]]:
        for path in self.files:
            try:
                lines = path.read_text().splitlines()
            except FileNotFoundError:
                continue
            for line in lines:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue


def shorten(content: Any) -> Any:
    """Return what was asked for, without the bulk of it: of a long text its beginning and its length."""
    if isinstance(content, dict):
        return {str(name)[:LONGEST]: shorten(value) for name, value in list(content.items())[:LONGEST]}
    if isinstance(content, list):
        return [shorten(value) for value in content[:LONGEST]]
    if isinstance(content, str) and len(content) > LONGEST:
        return f"{content[:LONGEST]}... ({len(content)} characters)"
    return content
