"""What is another one now: in long sequences and mappings of which nearly all stayed the same.

Equal stretches are passed at a glance: ten thousand objects that are the same ones still take some ten microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

STEP = 256

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def differences(a: Sequence[Any], b: Sequence[Any]) -> Iterator[int]:
    """Yield where two sequences of one length and one type differ."""
    for at in range(0, len(a), STEP):
        left, right = a[at : at + STEP], b[at : at + STEP]
        if left != right:  # compares no further than to the first difference, and what is the same object not at all
            yield from (at + n for n, (x, y) in enumerate(zip(left, right, strict=True)) if x is not y and x != y)


class Seen(Generic[K, V]):
    """A mapping as it was last seen. `weigh` makes of all values together columns of what matters of them."""

    def __init__(self, weigh: Callable[[list[V]], Sequence[list[Any]]]) -> None:
        self._weigh = weigh
        self._keys: list[K] = []
        self._columns: Sequence[list[Any]] = weigh([])

    def take(self, now: Mapping[K, V]) -> set[K]:
        """See it anew; return the keys that came, went, or have other values."""
        keys, columns, before, were = list(now), self._weigh(list(now.values())), self._keys, self._columns
        self._keys, self._columns = keys, columns
        stayed = len(before)
        if keys[:stayed] == before:  # what is new in a mapping stands at its end
            pairs = zip(were, columns, strict=True)
            return {*keys[stayed:], *(keys[at] for old, new in pairs for at in differences(old, new[:stayed]))}
        had = dict(zip(before, zip(*were, strict=True), strict=True))
        has = dict(zip(keys, zip(*columns, strict=True), strict=True))
        return {key for key in had.keys() | has.keys() if had.get(key) != has.get(key)}
