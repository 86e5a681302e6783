"""What is another one now: in long sequences and mappings of which nearly all stayed the same.

Equal stretches are passed at a glance: ten thousand objects that are the same ones still take some ten microseconds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
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
    """A mapping as it was last seen."""

    def __init__(self) -> None:
        self._keys: list[K] = []
        self._values: list[V] = []

    def take(self, now: Mapping[K, V]) -> set[K]:
        """See it anew; return the keys that came, went, or have other values."""
        keys, values, before, were = list(now), list(now.values()), self._keys, self._values
        self._keys, self._values = keys, values
        stayed = len(before)
        if keys[:stayed] == before:  # what is new in a mapping stands at its end
            return {*keys[stayed:], *(keys[at] for at in differences(were, values[:stayed]))}
        had = dict(zip(before, were, strict=True))
        return {key for key in had.keys() | now.keys() if had.get(key) != now.get(key)}
