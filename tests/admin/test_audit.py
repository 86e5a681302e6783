"""`GET /v1/audit`: the last lines, for admins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.api import opened


@pytest.mark.root
def test_the_last_lines_after_a_number(tmp_path: Path) -> None:
    with opened(tmp_path) as api:
        assert api.ask("GET", "/v1/audit").document == {"changes": []}
        for name in ("a", "b", "c"):
            api.ask("DELETE", f"/v1/backends/{name}/drain")
        lines = api.ask("GET", "/v1/audit").document["changes"]
        assert [line["path"] for line in lines] == [f"/v1/backends/{name}/drain" for name in ("a", "b", "c")]
        assert api.ask("GET", f"/v1/audit?after={lines[0]['number']}&limit=1").document["changes"] == lines[2:]
        for query, error in (("limit=0", "limit: 0 is out of range; give 1 to 1000"), ("after=x", "after: 'x' is no")):
            answer = api.ask("GET", f"/v1/audit?{query}")
            assert (answer.status, answer.error[: len(error)]) == (400, error)
