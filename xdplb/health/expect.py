"""What is expected in an answer: a regular expression, which a stranger's answer must not keep busy.

Python's own `re` may take hours over a few dozen bytes, and nothing else runs meanwhile; `regex` takes a time limit.
"""

from __future__ import annotations

import functools

import regex

from xdplb.health.probe import ProbeFailed

LIMIT_S = 0.05  # for one search


def found(pattern: str, where: str | bytes) -> bool:
    """Whether the pattern is in there. Raises ProbeFailed when that takes too long."""
    try:
        if isinstance(where, bytes):
            return _of_bytes(pattern).search(where, timeout=LIMIT_S) is not None
        return _of_text(pattern).search(where, timeout=LIMIT_S) is not None
    except TimeoutError:
        limit_ms = round(LIMIT_S * 1000)
        raise ProbeFailed(f"{pattern!r} takes more than {limit_ms} ms on this answer: make it simpler") from None


@functools.lru_cache(maxsize=1024)
def _of_text(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern)


@functools.lru_cache(maxsize=1024)
def _of_bytes(pattern: str) -> regex.Pattern[bytes]:
    return regex.compile(pattern.encode())
