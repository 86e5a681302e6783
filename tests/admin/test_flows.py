"""`DELETE /v1/flows`: tests/cli/test_flows.py sees them forgotten; here is what is described of it."""

from __future__ import annotations

from xdplb.admin import flows
from xdplb.admin.openapi import role_for
from xdplb.model import Role


def test_to_forget_flows_needs_an_operator() -> None:
    (path,) = flows.PATHS
    assert role_for("DELETE", flows.PATHS[path]["delete"]) is Role.OPERATE
    assert [(route.method, route.path) for route in flows.ROUTES] == [("DELETE", path)]
