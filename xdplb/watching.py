"""See when files have changed and are whole again: editors write in pieces, or put a new file in the old one's place.

Their place, size and times are looked at every now and then. A change counts when they have stood still for one look.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

Signature = tuple[tuple[int, int, int], ...]  # of each file: inode, time of its last change in ns, size

LOOK_S = 0.5  # between two looks


def sign(paths: Iterable[Path]) -> Signature | None:
    """Return what tells the files' contents from later ones; None when one is missing, as in the middle of a change."""
    try:
        return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in map(os.stat, paths))
    except OSError:
        return None


class Still:
    """Files as they were taken up last."""

    def __init__(self, taken: Signature | None = None) -> None:
        self._taken = self._last = taken

    def take(self, now: Signature | None) -> None:
        """Take these for known."""
        self._taken = self._last = now

    def changed(self, now: Signature | None) -> bool:
        """Look once; tell whether they are others than those taken, and the same as at the last look."""
        before, self._last = self._last, now
        return now is not None and now == before and now != self._taken
