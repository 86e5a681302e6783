"""Results for people and for machines."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from tools.bench.inspection import Inspection
from tools.bench.measure import YARDSTICK, Results


def lines(results: Results, programs: Mapping[str, Inspection]) -> Iterator[str]:
    """Yield the tables: times, then programs."""
    loads = list(dict.fromkeys(load for _, load in results.samples))
    yield f"{f'net ns per packet (x {YARDSTICK})':32}" + "".join(f"{load:>16}" for load in loads)
    for name in results.families:
        cells = ((results.net_ns(name, load), results.multiple(name, load)) for load in loads)
        yield f"{name:32}" + "".join(f"{ns:8.1f} ({times:.2f})".rjust(16) for ns, times in cells)
    yield _quietness(results)
    yield ""
    yield f"{'program':32}{'insns':>7}{'bytes':>7}{'verified':>10}   calls"
    for name, program in programs.items():
        calls = ", ".join(f"{n} x {function}" for function, n in sorted(program.calls.items())) or "none"
        sizes = f"{program.instructions:7}{program.machine_bytes or '?':>7}{program.verified or '?':>10}"
        yield f"{name:32}{sizes}   {calls}"


def _quietness(results: Results) -> str:
    """Say how far to trust the numbers."""
    quiet = [len(results.quiet(*key)) for key in results.samples]
    taken = sum(map(len, results.samples.values()))
    line = f"medians of at least {min(quiet)} measurements; {taken - sum(quiet)} of {taken} were disturbed and left out"
    return line if min(quiet) >= 5 else f"{line}: the machine is too busy, try again"


def as_json(results: Results, programs: Mapping[str, Inspection]) -> dict[str, Any]:
    """Return everything, down to the single measurement."""
    times: dict[str, dict[str, Any]] = {}
    for (name, load), samples in results.samples.items():
        times.setdefault(name, {})[load] = {
            "net_ns": results.net_ns(name, load),
            "multiple": results.multiple(name, load),
            "quiet_ns": results.quiet(name, load),
            "all": [asdict(sample) for sample in samples],
        }
    inspected = {name: asdict(program) for name, program in programs.items()}
    return {"kernel": platform.release(), "machine": platform.machine(), "times": times, "programs": inspected}
