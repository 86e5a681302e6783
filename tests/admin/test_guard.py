"""The lists, asked over the API; that changes are in the kernel: tests/cli/test_guard.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.api import opened
from xdplb.prefixes import parse_prefix


@pytest.mark.root
def test_what_is_wrong_is_told_and_what_is_listed_found(tmp_path: Path) -> None:
    with opened(tmp_path) as api:
        api.loop.call_soon_threadsafe(lambda: api.daemon.lists.put(parse_prefix("203.0.113.0/24"), "block"))
        found = api.ask("GET", "/v1/guard?address=203.0.113.7").document
        assert found == {"address": "203.0.113.7", "prefix": "203.0.113.0/24", "verdict": "block"}
        for body, error in (
            ('{"203.0.113.0/24": "deny"}', '203.0.113.0/24: \'deny\' is not known; give "block", "allow" or null'),
            ('{"203.0.113.0/24": []}', "203.0.113.0/24: [] is not known"),
            ('{"nonsense": "block"}', "prefix: "),
        ):
            answer = api.ask("PATCH", "/v1/guard", body)
            assert (answer.status, answer.error[: len(error)]) == (400, error)
