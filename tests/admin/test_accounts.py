"""What a proxy may report, and that what is wrong is refused as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from xdplb.admin.accounts import parse_accounts
from xdplb.errors import ConfigError
from xdplb.health.outlier import Account

KEY = ("web", "b1")
ONE = {"service": "web", "backend": "b1"}


def test_a_list_is_read_and_who_is_unknown_is_named() -> None:
    document = [{**ONE, "ok": 12, "failed": 1, "latency_s": 0.4}, {**ONE, "backend": "b9", "failed": 1}, ONE]
    assert parse_accounts(document, {KEY}) == ([Account(KEY, 12, 1, 0.4), Account(KEY)], [("web", "b9")])
    assert parse_accounts([], {KEY}) == ([], [])


def test_one_alone_needs_no_list() -> None:
    assert parse_accounts({**ONE, "ok": 1}, {KEY}) == ([Account(KEY, 1)], [])


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "body: None is no JSON object; send {"),
        ([3], "[0]: 3 is no JSON object"),
        ([ONE, {"service": "web"}], "[1].backend: None is no text; give the backend's name"),
        ({**ONE, "service": 3}, "body.service: 3 is no text"),
        ({**ONE, "oks": 3}, "body.oks: is not known; send {"),
        ({**ONE, "ok": -1}, "body.ok: -1 is no whole number from 0 on"),
        ({**ONE, "ok": 1.5}, "body.ok: 1.5 is no whole number from 0 on"),
        ({**ONE, "failed": True}, "body.failed: True is no whole number from 0 on"),
        ({**ONE, "failed": "1"}, "body.failed: '1' is no whole number from 0 on"),
        ({**ONE, "latency_s": None}, "body.latency_s: None is no number from 0 on"),
        ({**ONE, "latency_s": json.loads("NaN")}, "body.latency_s: nan is no number from 0 on"),
        ({**ONE, "latency_s": json.loads("1e999")}, "body.latency_s: inf is no number from 0 on"),
        ({**ONE, "ok": 10**400}, "is no whole number from 0 on"),
    ],
)
def test_what_is_wrong_is_refused(document: Any, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_accounts(document, {KEY})
    assert words in str(error.value)
