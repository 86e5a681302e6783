"""The document, what is enforced by it, and that a real daemon answers as it says: schemathesis finds nothing."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.admin.test_backends import ask
from tests.rig.net import QUICKSTART
from tests.rig.relay import relayed
from tools.lab.stand import Stand
from xdplb.admin import openapi
from xdplb.admin.shapes import operation
from xdplb.model import Role


def test_what_is_routed_is_what_is_described() -> None:
    routed = {(route.path, route.method.lower()) for part in (*openapi.PARTS, openapi) for route in part.ROUTES}
    described = {(path, method) for path, item in openapi.DOCUMENT["paths"].items() for method in item}
    assert routed == described


def test_every_operation_says_role_errors_and_name() -> None:
    names = []
    for path, item in openapi.DOCUMENT["paths"].items():
        for method, found in item.items():
            names.append(found["operationId"])
            assert found["x-role"] in list(Role), path
            assert {"200", "400", "403", "500"} <= set(found["responses"]), path
            assert ("409" in found["responses"]) == (method != "get"), path
            assert ("415" in found["responses"]) == ("requestBody" in found), path
    assert len(set(names)) == len(names)


def test_the_role_is_read_for_gets_and_operate_for_the_rest_unless_said() -> None:
    assert openapi.role_for("HEAD", {}) is Role.READ
    assert openapi.role_for("PUT", {}) is Role.OPERATE
    assert openapi.role_for("POST", operation("plan", {}, role="read")) is Role.READ


def test_paths_of_several_modules_are_put_together() -> None:
    get, put = operation("one", {}), operation("two", {})
    document = openapi.assemble([{"/v1/a/{name}": {"get": get}}, {"/v1/a/{name}": {"put": put}}])

    found = document["paths"]["/v1/a/{name}"]
    assert (found["get"]["summary"], found["put"]["summary"]) == ("one", "two")
    assert [p["name"] for p in found["put"]["parameters"]] == ["name", "If-Match"]
    assert found["get"]["operationId"] == "get_a_name"


def closed(schema: Any) -> Any:
    """The schema, in which a field that it does not name is an error."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found


def validate(document: Any, name: str) -> None:
    """Raise where a document is not of this schema."""
    components = closed(copy.deepcopy(openapi.DOCUMENT["components"]))
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": components}
    jsonschema_rs.validate({**schema, "$ref": f"#/components/schemas/{name}"}, document)


@pytest.mark.root
def test_answers_of_a_real_daemon_are_as_described_and_have_no_field_more(served: Stand) -> None:
    client = served.client
    validate(client.status(), "Status")
    validate(json.loads(served.run("status", "--json").stdout), "Status")
    looked = ask(served, "GET", "/v1/status")[1]
    assert ask(served, "GET", "/v1/backends/b1")[1] == looked
    changed = client.drain_backend("b2", None, for_s=60)
    validate(changed, "Changed")
    assert ask(served, "GET", "/v1/status")[1] not in (looked, "")
    validate(client.undrain_backend("b2", None), "Changed")
    assert ask(served, "GET", "/v1/status")[1] == looked
    assert ask(served, "POST", "/v1/confirm")[2] == {"confirmed": False}
    validate(client.drain_backend("b2", None, plan=True), "Plan")
    validate(client.plan(QUICKSTART.read_text()), "Plan")
    for event in client.events():
        validate(event, "Event")
    for line in client.audit():
        validate(line, "Audited")
    for probed in client.check("b1", None):
        validate(probed, "Probed")
    for departure in client.departures("b1", None):
        validate(departure, "Departure")
    for counters in client.stream("/v1/counters?interval_s=0.1&count=2", 5):
        validate(counters, "Counters")


def for_fuzzing() -> dict[str, Any]:
    """The document without what never ends."""
    document = copy.deepcopy(openapi.DOCUMENT)
    parameters = document["paths"]["/v1/counters"]["get"]["parameters"]
    next(p for p in parameters if p["name"] == "count").update(required=True, schema={"enum": [1]})
    for path in ("/v1/trace", "/v1/sources"):
        parameters = document["paths"][path]["get"]["parameters"]
        next(p for p in parameters if p["name"] == "for_s").update(required=True, schema={"enum": [0.1]})
    for item in document["paths"].values():
        for found in item.values():  # whether it matches is a matter of the moment: see test_gate
            found["parameters"] = [p for p in found.get("parameters", ()) if p["name"] != "If-Match"]
            for parameter in found["parameters"]:
                if parameter["in"] == "path":
                    parameter["schema"] = {"enum": {"service": ["web"], "backend": ["b1", "ghost"]}[parameter["name"]]}
    events = document["paths"]["/v1/events"]["get"]
    events["parameters"] = [p for p in events["parameters"] if p["name"] != "follow"]
    return document


# What a schema cannot say: which addresses are one host's, how long is too long, what a configuration means.
MEANING = [
    ("/v1/guard", "GET"),
    ("/v1/guard", "PATCH"),
    ("/v1/counters", "GET"),
    ("/v1/plan", "POST"),
    ("/v1/services/{service}/backends", "POST"),
    ("/v1/services/{service}/backends/{backend}", "PUT"),
    ("/v1/backends/{backend}", "DELETE"),
    ("/v1/backends/{backend}/drain", "PUT"),
]
ACCEPTED = ["2xx", "401", "403", "404", "409", "5xx", 400]


@pytest.mark.root
@pytest.mark.slow
def test_schemathesis_finds_nothing(served: Stand, tmp_path: Path) -> None:
    assert isinstance(served.client.path, Path)
    description = tmp_path / "openapi.json"
    description.write_text(json.dumps(for_fuzzing()))
    settings = "".join(
        f'[[operations]]\ninclude-path = "{path}"\ninclude-method = "{method}"\n'
        f"checks.positive_data_acceptance.expected-statuses = {ACCEPTED}\n"
        for path, method in MEANING
    )
    (tmp_path / "schemathesis.toml").write_text(settings)
    with relayed(served.client.path) as port:
        argv = [str(Path(sys.executable).with_name("st"))]
        argv += ["--no-color", "run", str(description), "--url", f"http://127.0.0.1:{port}", "--checks", "all"]
        argv += ["--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", "7", "--workers", "2"]
        argv += ["--generation-database", "none", "--continue-on-failure", "--warnings", "off"]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-20000:]
    assert served.client.status()["name"] == served.name
