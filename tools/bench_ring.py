"""What the ring costs and how well it does: `python -m tools.bench_ring`.

For 100, 1,000 and 10,000 backends: the time to build it (best of three), the largest error of a share, the slots that
move when one is removed and when one's weight doubles, as multiples of the least possible.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from xdplb.ring import Member, _base, build_ring, ring_size


def owners(members: Sequence[Member], size: int) -> list[str]:
    """Return the key of every slot's backend."""
    return [members[i].key for i in build_ring(members, size, "bench")]


def main() -> None:
    """Print a line for each size."""
    for number in (100, 1_000, 10_000):
        members, size, best = [Member(f"b{n}", 100) for n in range(number)], ring_size(number), 1e9
        for _ in range(3):
            _base.cache_clear()
            began = time.perf_counter()
            build_ring(members, size, "bench")
            best = min(best, time.perf_counter() - began)
        before = owners(members, size)
        count = Counter(before)
        error = max(abs(n * number / size - 1) for n in count.values())
        removed = owners(members[1:], size)
        heavier = owners([replace(members[0], weight=200), *members[1:]], size)
        moved = [sum(a != b for a, b in zip(before, after, strict=True)) for after in (removed, heavier)]
        print(
            f"{number:6} backends, {size:8} slots: {best * 1e3:7.1f} ms, shares within {error:.1%}, "
            f"removal {moved[0] / count['b0']:.2f} x, weight doubled {moved[1] / count['b0']:.2f} x"
        )


if __name__ == "__main__":
    main()
