from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    key: str
    weight: int
    up: bool = True


def ring_size(backends: int) -> int:
    size = 1024
    while size < 100 * backends:
        size *= 2
    return size


def build_ring(members, size, salt=""):
    ok = [i for i, x in enumerate(members) if x.up and x.weight]
    return [ok[i % len(ok)] if ok else -1 for i in range(size)]
