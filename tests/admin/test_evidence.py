"""`POST /v1/evidence`: one report or several; what is in one: test_accounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.api import opened


@pytest.mark.root
def test_reports_are_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    with opened(tmp_path) as api:
        report = '{"service": "web", "backend": "b9", "ok": 3}'
        for body in (report, f"[{report}]"):
            assert api.ask("POST", "/v1/evidence", body).document == {"taken": 0, "unknown": ["web/b9"]}
        for body, error in (
            (f'[{report}, {{"service": "web"}}]', "[1].backend: None is no text"),
            (report.replace("ok", "okay"), "body.okay: is not known"),
            ("", "body: None is no JSON object"),
        ):
            answer = api.ask("POST", "/v1/evidence", body)
            assert (answer.status, answer.error[: len(error)]) == (400, error)
