"""What is another one now: in long sequences and mappings of which nearly all stayed the same.

Equal stretches are passed at a glance: ten thousand objects that are the same ones still take some ten microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def differences(a: Sequence[Any], b: Sequence[Any], step: int = 512) -> Iterator[int]:
    """Yield where two sequences of one length and one type differ."""
    for at in range(0, len(a), step):
        left, right = a[at : at + step], b[at : at + step]
        if left != right:
            yield from (at + n for n, (x, y) in enumerate(zip(left, right, strict=True)) if x is not y and x != y)


class Seen(Generic[K, V]):
    """A mapping as it was last seen; `parts` get from a value what matters of it, all of it when there are none."""

    def __init__(self, *parts: Callable[[V], Any]) -> None:
        self._parts = parts
        self._keys: list[K] = []
        self._columns: list[list[Any]] = [[] for _ in parts or [None]]

    def take(self, now: Mapping[K, V]) -> set[K]:
        """See it anew; return the keys that came, went, or have other values."""
        keys, values, before = list(now), list(now.values()), (self._keys, self._columns)
        self._keys = keys
        self._columns = [list(map(part, values)) for part in self._parts] or [values]
        if keys == before[0]:
            pairs = zip(before[1], self._columns, strict=True)
            return {keys[at] for was, column in pairs for at in differences(was, column)}
        was = dict(zip(before[0], zip(*before[1], strict=True), strict=True))
        has = dict(zip(keys, zip(*self._columns, strict=True), strict=True))
        return {key for key in was.keys() | has.keys() if was.get(key) != has.get(key)}
