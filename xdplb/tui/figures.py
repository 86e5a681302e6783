"""Numbers as one reads them at a glance: at most five characters, the same width while they change."""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = "-"
_PREFIXES = "kMGTPE"
_BLOCKS = "▁▂▃▄▅▆▇"  # not the full one: lines would grow together


def si(value: float | None) -> str:
    """Return three significant digits with an SI prefix: 0.4, 17, 1.24k, 12.4M."""
    if value is None:
        return UNKNOWN
    if value < 9.95:
        return f"{value:.1f}" if value >= 0.05 else "0"
    if value < 999.5:
        return f"{value:.0f}"
    thousands = 0
    while value >= 999.5 and thousands < len(_PREFIXES):
        value /= 1000
        thousands += 1
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{_PREFIXES[thousands - 1]}"


def count(total: int) -> str:
    """Return a number of things: all its digits while they are few."""
    return str(total) if total < 10_000 else si(total)


def percent(share: float | None) -> str:
    """Return a share (0 to 1) in percent, with three digits."""
    if share is None:
        return UNKNOWN
    value = 100 * share
    if value < 0.005:
        return "0%"
    if value >= 99.95:
        return f"{value:.0f}%"
    return f"{value:.{1 if value >= 9.995 else 2}f}%"


def duration(seconds: float) -> str:
    """Return a time in its two largest units."""
    minutes, s = divmod(max(0, int(seconds)), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days} d {h} h"
    if hours:
        return f"{h} h {m} min"
    return f"{m} min {s} s" if minutes else f"{s} s"


def sparkline(history: Sequence[float], width: int) -> str:
    """Return the last samples as blocks, newest at the right, from 0 to the largest of them."""
    samples = list(history)[-width:] if width > 0 else []
    scale = (len(_BLOCKS) - 1) / (max(samples, default=0) or 1)
    return "".join(_BLOCKS[round(sample * scale)] for sample in samples).rjust(width)


def bar(part: float, width: int) -> str:
    """Return a bar that is full by this part (0 to 1)."""
    full = round(min(max(part, 0.0), 1.0) * width)
    return "█" * full + "░" * (width - full)
