"""What a check remembers survives as JSON, and garbage is nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdplb.health.check import Memory, RiseFall, Said, Start
from xdplb.health.memory import memory_from_json, memory_to_json
from xdplb.model import Check

FULL = Memory(False, "refused", 12.5, 1, 11.0, 3, 2.25, 9.0, "ends soon", Said(50, drain=True))


@pytest.mark.parametrize("memory", [FULL, Memory(True, "connected", 0)], ids=["full", "least"])
def test_there_and_back(memory: Memory) -> None:
    assert memory_from_json(json.loads(json.dumps(memory_to_json(memory)))) == memory


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in memory_to_json(FULL).items() if key != name}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "up",
        {},
        without("up"),
        without("cause"),
        memory_to_json(FULL) | {"up": None},
        memory_to_json(FULL) | {"up": 1},
        memory_to_json(FULL) | {"cause": 3},
        memory_to_json(FULL) | {"streak": -1},
        memory_to_json(FULL) | {"streak": 1.5},
        memory_to_json(FULL) | {"falls": True},
        memory_to_json(FULL) | {"since": None},
        memory_to_json(FULL) | {"rose_at": float("nan")},
        memory_to_json(FULL) | {"spell_since": "yesterday"},
        memory_to_json(FULL) | {"said": "drain"},
        memory_to_json(FULL) | {"said": {"percent": -3}},
        memory_to_json(FULL) | {"said": {"drain": "yes"}},
        memory_to_json(FULL) | {"said": {"weight": 3}},
        memory_to_json(FULL) | {"of": "a later version"},
    ],
)
def test_what_makes_no_sense_is_nothing(raw: object) -> None:
    assert memory_from_json(raw) is None


JSON: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 10**400, 0.5, float("inf"), float("nan"), "", "x", [], {}, {"percent": 5}]
)


@given(st.dictionaries(st.sampled_from([*memory_to_json(FULL)]), JSON), st.floats(0, 1e9))
def test_whatever_was_in_the_file_a_check_can_go_on(broken: dict[str, Any], now: float) -> None:
    memory = memory_from_json(memory_to_json(FULL) | broken)
    if memory is not None:
        assert RiseFall(Check(80)).handle(Start(memory, 0.5), now)
