"""Bytes from a terminal become keys, also when they arrive in pieces."""

from __future__ import annotations

import pytest

from xdplb.tui.keys import Decoder


@pytest.mark.parametrize(
    ("received", "keys"),
    [
        (b"qS/?", ["q", "S", "/", "?"]),
        (b" ", [" "]),
        (b"\x1b[A\x1b[B\x1bOA\x1bOB", ["up", "down", "up", "down"]),
        (b"\x1b[5~\x1b[6~", ["page_up", "page_down"]),
        (b"\x1b[H\x1b[1~\x1bOH\x1b[F\x1b[4~\x1bOF", ["home", "home", "home", "end", "end", "end"]),
        (b"\r\n\x7f\x08\x0c\x15", ["enter", "enter", "backspace", "backspace", "ctrl_l", "ctrl_u"]),
        ("é日".encode(), ["é", "日"]),
    ],
)
def test_keys_have_names(received: bytes, keys: list[str]) -> None:
    assert Decoder().feed(received) == keys


def test_unknown_sequences_are_swallowed_whole() -> None:
    assert Decoder().feed(b"\x1b[1;5Cq\x1b[200~\x1bOPj\x01\x00") == ["q", "j"]


def test_a_key_may_arrive_in_pieces() -> None:
    keys = Decoder()

    assert keys.feed(b"\x1b") == []
    assert keys.waiting
    assert keys.feed(b"[") == []
    assert keys.feed(b"6") == []
    assert keys.feed(b"~k") == ["page_down", "k"]
    assert not keys.waiting
    assert keys.feed("é".encode()[:1]) == []
    assert keys.waiting
    assert keys.feed("é".encode()[1:]) == ["é"]


def test_escape_is_a_key_when_nothing_follows() -> None:
    keys = Decoder()

    assert keys.feed(b"a\x1b") == ["a"]
    assert keys.flush() == ["escape"]
    assert keys.flush() == []
    assert keys.feed(b"\x1b[") == []
    assert keys.flush() == []  # the beginning of something unknown is nothing
    assert keys.feed(b"\x1bq") == ["escape", "q"]


def test_bytes_that_are_no_text_are_dropped() -> None:
    assert Decoder().feed(b"\xff\xff\xff\xffq") == ["q"]
