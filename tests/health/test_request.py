"""What an HTTP check asks, and what passes."""

from __future__ import annotations

import hpack
import pytest

from xdplb.health.kinds import Http
from xdplb.health.request import MOST_PADDING, PADDING, Answer, fault, padding


@pytest.mark.parametrize("missing", [-1, 0, 1, 13, 14, 1000, 4013, 9000, 65000])
def test_padding_is_at_least_as_long_as_what_is_missing_and_no_line_too_long(missing: int) -> None:
    headers = padding(missing)
    length = sum(len(f"{name}: {value}\r\n") for name, value in headers)
    assert max(missing, 0) <= length < max(missing, 1) + len(f"{PADDING}: X\r\n")
    assert all(len(value) <= MOST_PADDING for _, value in headers)


def test_padding_does_not_shrink_in_hpack() -> None:
    values = [value for _, value in padding(9000)]
    assert all(len(hpack.Encoder().encode([("x", value)])) >= len(value) for value in values)


def test_a_body_is_searched_as_text_whatever_its_bytes() -> None:
    wanted = Http(body="gr.n$")
    assert fault(wanted, Answer(200, "grün".encode())) == ""
    assert fault(wanted, Answer(200, b"gr\xffn")) == ""
    assert fault(Http(body="a"), Answer(200, b"\xff")) == "'a' is not in the 1 bytes of the body: b'\\xff'"
