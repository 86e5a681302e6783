"""Print the table at the head of `xdplb/ring.py`: how even rings are, how much they move, how long they take.

    python tools/bench_ring.py [--weights] [BACKENDS ...]

Slots are moved by eight changes in a row, so that what comes only now and then is counted too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from xdplb.ring import Member, build_ring, ring_size  # noqa: E402

CHANGES = 8
Change = Callable[[list[Member], int], tuple[list[Member], str]]


def owners(members: list[Member], size: int) -> list[str]:
    """Return slot -> key."""
    return [members[at].key for at in build_ring(members, size, "bench")]


def largest_error(members: list[Member], ring: list[str]) -> float:
    """Return by which part of its due the worst backend is off."""
    total, held = sum(m.weight for m in members), Counter(ring)
    due = {m.key: len(ring) * m.weight / total for m in members}
    return max(abs(held[key] / slots - 1) for key, slots in due.items())


def seconds(members: list[Member], size: int) -> float:
    """Return the best of some runs."""
    best, until = float("inf"), time.perf_counter() + 4
    while time.perf_counter() < until:
        started = time.perf_counter()
        build_ring(members, size, "bench")
        best = min(best, time.perf_counter() - started)
    return best


def add(members: list[Member], number: int) -> tuple[list[Member], str]:
    """Return the members after the change, and whose slots had to move."""
    key = f"new{number}"
    return [*members, Member(key, members[0].weight)], key


def remove(members: list[Member], number: int) -> tuple[list[Member], str]:
    """Return the members after the change, and whose slots had to move."""
    at = (number * 7919 + 13) % len(members)
    return members[:at] + members[at + 1 :], members[at].key


def reweigh(members: list[Member], number: int) -> tuple[list[Member], str]:
    """Return the members after the change, and whose slots had to move."""
    at = (number * 7919 + 13) % len(members)
    heavier = replace(members[at], weight=members[at].weight * 3 // 2)
    return [*members[:at], heavier, *members[at + 1 :]], heavier.key


def moved(members: list[Member], size: int, change: Change) -> tuple[float, float]:
    """Return the slots that changes move, as a multiple of those that have to, and the largest error on the way."""
    moves, least, error = 0, 0, 0.0
    before = owners(members, size)
    for number in range(CHANGES):
        members, key = change(members, number)
        after = owners(members, size)
        moves += sum(old != new for old, new in zip(before, after, strict=True))
        least += abs(after.count(key) - before.count(key))
        error = max(error, largest_error(members, after))
        before = after
    return moves / least, error


def main() -> None:
    """Print a line for each number of backends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backends", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--weights", action="store_true", help="all different, from 100 to 200, not all the same")
    parser.add_argument("--per-backend", type=int, help="so many slots each, not as ring_size says")
    options = parser.parse_args()
    print(f"{'backends':>8}  {'slots':>9}  off by  added  removed  weight + 50 %       time")
    for number in options.backends:
        size = options.per_backend * number if options.per_backend else ring_size(number)
        weights = [10_000 + 10_000 * at // number if options.weights else 10_000 for at in range(number)]
        members = [Member(f"b{at}", weight) for at, weight in enumerate(weights)]
        best = seconds(members, size)
        results = [moved(members, size, change) for change in (add, remove, reweigh)]
        ratios = [ratio for ratio, _ in results]
        print(
            f"{number:8,}  {size:9,}  {max(e for _, e in results):6.2%}  {ratios[0]:5.2f}  {ratios[1]:7.2f}"
            f"  {ratios[2]:13.2f}  {best * 1e3:6,.1f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
