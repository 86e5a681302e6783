"""`POST /v1/plan`: what it takes. What it answers: tests/test_plan.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.api import opened


@pytest.mark.root
def test_a_configuration_that_is_wrong_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as api:
        for body, error in (
            ('{"config": 3}', "config: 3 is no text; give the text of a configuration file"),
            ('{"config": "[balancer]"}', "balancer.interface: missing; add it"),
            ('{"config": "", "file": ""}', "file: unknown key; known here: config"),
        ):
            answer = api.ask("POST", "/v1/plan", body)
            assert (answer.status, answer.error) == (400, error)
