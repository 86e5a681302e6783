"""What changed is found, and nothing else, whatever happened to a sequence or a mapping."""

from __future__ import annotations

from array import array
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from xdplb.differences import STEP, Seen, differences


def test_only_what_differs_is_found_in_any_kind_of_sequence() -> None:
    for kind in (list, tuple, lambda numbers: array("i", numbers)):
        before = list(range(3 * STEP + 5))
        after = [-n if n in {1, STEP, 3 * STEP + 4} else n for n in before]
        assert list(differences(kind(before), kind(after))) == [1, STEP, 3 * STEP + 4]
        assert list(differences(kind(before), kind(before))) == []


def test_what_is_equal_is_no_difference_whichever_object_it_is() -> None:
    one, other = (1, 2), tuple(range(1, 3))
    assert one is not other
    assert list(differences([one, (3,)], [other, (4,)])) == [1]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(2, 12))
def test_a_mapping_is_followed_through_any_history(seed: int, steps: int) -> None:
    rng, seen, mapping, before = Random(seed), Seen[int, int](), dict[int, int](), dict[int, int]()
    for _ in range(steps):
        for _ in range(rng.randrange(4)):
            key = rng.randrange(600)
            if rng.random() < 0.3:
                mapping.pop(key, None)
            else:
                mapping[key] = rng.randrange(3)
        if rng.random() < 0.1:
            mapping = dict(sorted(mapping.items()))  # the same in another order
        expected = {key for key in before.keys() | mapping.keys() if before.get(key) != mapping.get(key)}
        assert seen.take(mapping) == expected
        before = dict(mapping)
