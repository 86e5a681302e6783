"""What a check remembers, as JSON values and back. Pure; what makes no sense is nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from xdplb.health.check import Memory, Said

LATEST = 1e12  # seconds since a boot
_TEXTS = ("cause", "warning")
_COUNTS = ("streak", "falls")
_TIMES = ("since", "passes_since", "spell_since", "rose_at")


def memory_to_json(memory: Memory) -> dict[str, Any]:
    """Return it as JSON values."""
    return asdict(memory)


def memory_from_json(raw: object) -> Memory | None:
    """Return what `memory_to_json` made this of; None if it did not."""
    if not isinstance(raw, dict) or not isinstance(raw.get("up"), bool):
        return None
    try:
        memory = Memory(**{**raw, "said": _said(raw.get("said"))})
    except (TypeError, ValueError):
        return None
    texts = all(isinstance(getattr(memory, name), str) for name in _TEXTS)
    counts = all(_is_count(getattr(memory, name)) for name in _COUNTS)
    times = all(_is_time(getattr(memory, name)) for name in _TIMES) and memory.since is not None
    return memory if texts and counts and times else None


def _said(raw: object) -> Said | None:
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise ValueError("no table")
    said = Said(**raw)
    known = said.percent is None or _is_count(said.percent)
    if not known or not isinstance(said.drain, bool) or not isinstance(said.maintenance, bool):
        raise ValueError("another type")
    return said


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_time(value: object) -> bool:
    """Whether it is a time, or none. (JSON as Python reads it knows NaN, infinity, and numbers of any length.)"""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LATEST
