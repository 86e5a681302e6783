"""The API's description (OpenAPI 3.1), put together of what stands beside the handlers; it is also what is enforced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from xdplb import __version__
from xdplb.admin import (
    audit,
    backends,
    config,
    counters,
    events,
    evidence,
    explain,
    flows,
    guard,
    metrics,
    status,
    trace,
)
from xdplb.admin.answers import answer
from xdplb.admin.schemas import COMPONENTS
from xdplb.admin.shapes import TEXT, operation, ref
from xdplb.model import Role

_ERRORS = {
    "400": "the request is wrong; nothing was changed",
    "403": "the caller's role does not allow it",
    "404": "what the request names is not there",
    "408": "the body did not come in time",
    "409": "it cannot be beside what there is; nothing was changed",
    "412": "If-Match: something was changed meanwhile; nothing was changed",
    "413": "the body is too long",
    "415": "the body's content type is not application/json",
    "500": "it was right, and could not be done",
}
_OF_BODY, _OF_CHANGE = {"408", "413", "415"}, {"409", "412"}


def role_for(method: str, operation: Mapping[str, Any]) -> Role:
    """Return which role an operation needs."""
    usual = Role.READ if method.upper() in ("GET", "HEAD") else Role.OPERATE
    return Role(operation.get("x-role", usual))


def assemble(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the document of the PATHS of modules."""
    paths: dict[str, Any] = {}
    for part in parts:
        for path, item in part.items():
            described = {method: _complete(path, method, found) for method, found in item.items()}
            paths.setdefault(path, {}).update(described)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "xdplb",
            "version": __version__,
            "summary": "The admin API of the xdplb daemon",
            "description": "The version in paths changes when something is taken away; fields may be added.",
        },
        "servers": [{"url": "/", "description": "the Unix socket, or the address of admin.listen"}],
        "paths": paths,
        "components": {"schemas": COMPONENTS},
    }


def _complete(path: str, method: str, described: Mapping[str, Any]) -> dict[str, Any]:
    """Add what all have: parameters of the path, errors, the role as it is, a name."""
    named = [p for p in described.get("parameters", ()) if p["in"] == "path"]
    known = {p["name"] for p in named}
    missing = [name for name in re.findall(r"\{(\w+)\}", path) if name not in known]
    parameters = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in missing]
    parameters += list(described.get("parameters", ()))
    if method != "get":
        match = {"type": "string", "description": "the ETag that the change was decided by; `*`: any"}
        parameters.append({"name": "If-Match", "in": "header", "required": False, "schema": match})
    role = role_for(method, described)
    return {
        "operationId": described.get("operationId", _operation_id(path, method)),
        **described,
        **({"parameters": parameters} if parameters else {}),
        "responses": {**_errors_of(method, described), **described["responses"]},
        "x-role": str(role),
    }


def _operation_id(path: str, method: str) -> str:
    return "_".join([method, *re.findall(r"[a-z]+", path.removeprefix("/v1"))])


def _errors_of(method: str, described: Mapping[str, Any]) -> dict[str, Any]:
    left_out = (set() if "requestBody" in described else _OF_BODY) | (set() if method != "get" else _OF_CHANGE)
    content = {"application/json": {"schema": ref("Error")}}
    return {code: {"description": why, "content": content} for code, why in _ERRORS.items() if code not in left_out}


async def _document(request: web.Request) -> web.Response:
    return answer(DOCUMENT)


ROUTES: list[web.RouteDef] = [web.get("/v1/openapi.json", _document)]
PATHS: dict[str, Any] = {"/v1/openapi.json": {"get": operation("this document", {"type": "object"})}}

# One line for each module with handlers.
PARTS: list[Any] = [
    status,
    events,
    counters,
    backends,
    flows,
    guard,
    evidence,
    config,
    audit,
    explain,
    trace,
    metrics,
]
DOCUMENT = assemble([*(part.PATHS for part in PARTS), PATHS])


def find_operation(path: str, method: str) -> Mapping[str, Any] | None:
    """Return what is described of a path, as routes write it."""
    found: Mapping[str, Any] | None = DOCUMENT["paths"].get(path, {}).get(method.lower().replace("head", "get"))
    return found
