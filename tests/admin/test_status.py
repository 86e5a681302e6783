"""`GET /v1/status`: test_openapi sees what a real daemon answers, and its ETag; here is who may ask."""

from __future__ import annotations

from xdplb.admin import status
from xdplb.admin.openapi import role_for
from xdplb.model import Role


def test_everybody_may_look_and_operators_confirm() -> None:
    assert role_for("GET", status.PATHS["/v1/status"]["get"]) is Role.READ
    assert role_for("POST", status.PATHS["/v1/confirm"]["post"]) is Role.OPERATE
