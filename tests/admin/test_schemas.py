"""Schemas of answers: those that are referred to are there. That answers are so: test_openapi."""

from __future__ import annotations

import json
import re

from xdplb.admin.openapi import DOCUMENT
from xdplb.admin.schemas import COMPONENTS
from xdplb.model import State


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert used == set(COMPONENTS)


def test_a_state_is_one_of_the_models() -> None:
    assert COMPONENTS["Backend"]["properties"]["state"]["enum"] == list(State)
