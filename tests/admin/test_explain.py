"""The API's part of `explain`: its document is the one that is told, its path the one that is served."""

from __future__ import annotations

from tests.rig.explaining import explained, outcome, world
from tests.rig.packets import tcp
from xdplb.admin.explain import PATHS, ROUTES
from xdplb.explain.question import KNOWN


def test_what_is_served_is_what_is_described() -> None:
    assert {(route.method.lower(), route.path) for route in ROUTES if hasattr(route, "path")} == {
        (method, path) for path, item in PATHS.items() for method in item
    }


def test_the_schema_names_what_is_asked_and_told() -> None:
    operation = PATHS["/v1/explain"]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["schema"]
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]

    assert set(asked["properties"]) == set(KNOWN)
    told = explained(world(), tcp(), outcome("dropped_no_headroom"))
    assert list(answer["properties"]["explained"]["items"]["properties"]) == list(told)
    assert operation["x-role"] == "read"
