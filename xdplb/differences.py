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
    yield from (at for at in _unlike(a, b) if a[at] != b[at])


def _unlike(a: Sequence[Any], b: Sequence[Any]) -> Iterator[int]:
    """Yield where two sequences have not the same object; some that are equal are left out."""
    for at in range(0, len(a), STEP):
        left, right = a[at : at + STEP], b[at : at + STEP]
        if left != right:  # compares no further than to the first difference
            yield from (at + n for n, (x, y) in enumerate(zip(left, right, strict=True)) if x is not y)


class Seen(Generic[K, V]):
    """A mapping as it was last seen; `parts` get from a value what matters of it, all of it when there are none."""

    def __init__(self, *parts: Callable[[V], Any]) -> None:
        self._parts = parts or (_itself,)
        self._keys: list[K] = []
        self._values: list[V] = []

    def take(self, now: Mapping[K, V]) -> set[K]:
        """See it anew; return the keys that came, went, or have other values."""
        keys, values, before, were = list(now), list(now.values()), self._keys, self._values
        self._keys, self._values = keys, values
        stayed = len(before)
        if keys[:stayed] != before:  # what is new in a mapping stands at its end: so something has gone
            old = dict(zip(before, were, strict=True))
            both = [key for key in keys if key in old]
            pairs = [old[key] for key in both], [now[key] for key in both]
            return {*(now.keys() ^ old.keys()), *(both[at] for at in self._others(*pairs))}
        return {*keys[stayed:], *(keys[at] for at in self._others(were, values[:stayed]))}

    def _others(self, were: Sequence[V], values: Sequence[V]) -> set[int]:
        """Return where what matters is another."""
        places = list(_unlike(were, values))
        old, new = [were[at] for at in places], [values[at] for at in places]
        found = (differences(list(map(part, old)), list(map(part, new))) for part in self._parts)
        return {places[at] for ats in found for at in ats}


def _itself(value: V) -> V:
    return value
