"""journald's own protocol: a record is one datagram of fields (systemd.journal-fields(7), "Native Journal Protocol").

Nothing is waited for: a journal that does not read must not stop the checks. What it did not take is for the caller
to write elsewhere.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
MOST_BYTES = 32768  # of one value: a datagram has to fit into a socket's buffer
_PRIORITIES = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}  # syslog(3)


def is_stderr() -> bool:
    """Whether stderr leads to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        there = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def encode(fields: Mapping[str, str]) -> bytes:
    """Return fields as they go into the datagram: `NAME=value`, or with its length where there are more lines."""
    parts = []
    for name, text in fields.items():
        value = text.encode("utf-8", "backslashreplace")[:MOST_BYTES]
        if b"\n" in value:
            parts.append(name.upper().encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n")
        else:
            parts.append(name.upper().encode() + b"=" + value + b"\n")
    return b"".join(parts)


class Journal:
    """One sender."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, level: int, message: str, fields: Mapping[str, str]) -> bool:
        """Send a record; False: it was not taken."""
        first = {"MESSAGE": message, "PRIORITY": str(_PRIORITIES.get(level, 6)), "SYSLOG_IDENTIFIER": "xdplb"}
        try:
            self._socket.sendto(encode({**first, **fields}), str(self._path))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
