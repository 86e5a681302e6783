"""Results for people and for machines."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

from tools.bench.inspection import Inspection
from tools.bench.measure import YARDSTICK, Results


def lines(results: Results, programs: Mapping[str, Inspection]) -> Iterator[str]:
    """Yield the tables: times, then programs."""
    names = list(dict.fromkeys(subject for subject, _ in results.samples))
    loads = list(dict.fromkeys(load for _, load in results.samples))
    yield f"{f'net ns per packet (x {YARDSTICK})':32}" + "".join(f"{load:>16}" for load in loads)
    for name in names:
        yield f"{name:32}" + "".join(_cell(results, name, load) for load in loads)
    yield ""
    yield f"{'program':32}{'insns':>7}{'bytes':>7}   calls"
    for name, program in programs.items():
        calls = ", ".join(f"{n} x {function}" for function, n in sorted(program.calls.items())) or "none"
        size = str(program.machine_bytes or "?")
        yield f"{name:32}{program.instructions:7}{size:>7}   {calls}"


def _cell(results: Results, name: str, load: str) -> str:
    return f"{results.net_ns(name, load):7.1f} ({results.multiple(name, load):4.2f}) "


def as_json(results: Results, programs: Mapping[str, Inspection]) -> dict[str, Any]:
    """Return everything, down to the single measurement."""
    times: dict[str, dict[str, Any]] = {}
    for (name, load), samples in results.samples.items():
        times.setdefault(name, {})[load] = {
            "net_ns": results.net_ns(name, load),
            "multiple": results.multiple(name, load),
            "samples_ns": samples,
        }
    inspected = {
        name: {"instructions": p.instructions, "machine_bytes": p.machine_bytes, "calls": p.calls}
        for name, p in programs.items()
    }
    return {"kernel": platform.release(), "machine": platform.machine(), "times": times, "programs": inspected}
