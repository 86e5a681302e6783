"""What is asked for is understood, or refused with the key and the fix."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rig.packets import CLIENT4, VIP4, tcp
from xdplb.errors import ConfigError
from xdplb.explain.question import parse_question


def test_frames_come_whole_or_are_made() -> None:
    raw = bytes(tcp())

    assert parse_question({"hex": raw.hex(), "in": "eth0"}).frames == (raw,)
    assert parse_question({"frames": [raw.hex(), raw.hex()]}).frames == (raw, raw)
    made = parse_question({"src": CLIENT4, "dst": f"{VIP4}:80", "proto": None, "length": 40})
    assert (len(made.frames[0]), made.interface) == (54, None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "packet: is missing"),
        ({"hex": "00", "src": "10.0.0.1"}, "packet: are given hex and src"),
        ({"frame": "00"}, "frame: unknown key"),
        ({"hex": "00", "flags": "S"}, "flags: makes no sense with hex"),
        ({"hex": 3}, "hex: 3 is no text"),
        ({"frames": "00"}, "frames: is no list of texts"),
        ({"frames": []}, "frames: are 0"),
        ({"src": "10.0.0.1"}, "dst: is missing"),
        ({"src": "10.0.0.1", "dst": "10.0.0.2:80", "length": "x"}, "length: 'x' is no whole number"),
        ({"hex": "00", "in": 1}, "in: 1 is no text"),
    ],
)
def test_what_makes_no_sense_is_refused(body: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_question(body)
    assert str(caught.value).startswith(words)
