"""What Python takes from bpf/maps.h."""

from __future__ import annotations

from xdplb.contract import CONSTANTS, read_constants
from xdplb.tables import Way


def test_constants_are_those_of_the_header() -> None:
    assert read_constants("#define A 7 /* so */\n#define B (A + 1)\n#define C_D 12\nint x;\n") == {"A": 7, "C_D": 12}


def test_every_way_has_a_number_of_its_own() -> None:
    assert sorted(CONSTANTS[f"WAY_{way.name}"] for way in Way) == list(range(1, 7))
