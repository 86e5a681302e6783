"""What every request passes before its handler: may the caller do that, is it asked as described, is it still so?

A body is read here, so that nothing happens between the look at `If-Match` and the change. What is described beside
the handlers (`PATHS`) is what is checked here: nothing is taken silently that the document does not name.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from xdplb.admin.answers import BODY, CALLER, DAEMON, answer, read_json, refuse
from xdplb.admin.doors import Held
from xdplb.admin.openapi import find_operation, role_for
from xdplb.audit import shorten
from xdplb.errors import ConfigError, ConflictError, MissingError, XdplbError
from xdplb.model import Role

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_STATUS: dict[type[ConfigError], int] = {MissingError: 404, ConflictError: 409}


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what is raised into answers."""
    try:
        return await handler(request)
    except ConfigError as error:
        return refuse(error, _STATUS.get(type(error), 400))
    except XdplbError as error:
        return answer({"error": str(error)}, 500)
    except web.HTTPMethodNotAllowed as error:
        allowed = {"Allow": ",".join(sorted({*error.allowed_methods, "OPTIONS"}))}
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=allowed)
        return answer({"error": f"{request.method} {request.path}: {error.reason}"}, 405, allowed)
    except web.HTTPException as error:
        headers = {"Connection": "close"} if error.status in (408, 413) else None  # the rest of it is not read
        return answer({"error": f"{request.method} {request.path}: {error.reason}"}, error.status, headers)


@web.middleware
async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let pass who may, with what is described; note what was changed and what was refused."""
    held = request.protocol
    assert isinstance(held, Held)
    request[CALLER] = held.caller
    held.place.work()
    try:
        return await _audited(request, handler)
    finally:
        held.place.rest()


async def _audited(request: web.Request, handler: Handler) -> web.StreamResponse:
    began, found = time.monotonic(), await errors(request, lambda request: _pass(request, handler))
    if found.status == 403 or _changes(request):
        caller, body = request[CALLER], request.get(BODY)
        content = {} if body is None else {"content": shorten(_without_config(body))}
        audit, took_s = request.app[DAEMON].audit, time.monotonic() - began
        audit.write(caller.who, request.method, request.path_qs, found.status, took_s, **caller.details, **content)
    return found


def _without_config(body: object) -> object:
    """Leave a configuration's text out: it may hold the secret of the hash, and those of checks."""
    if isinstance(body, dict) and isinstance(body.get("config"), str):
        return {**body, "config": f"({len(body['config'])} characters)"}
    return body


async def _pass(request: web.Request, handler: Handler) -> web.StreamResponse:
    operation, caller = _operation(request), request[CALLER]
    needed = role_for(request.method, operation or {})
    if not caller.may(needed if operation else Role.READ):
        role = f"has the role {caller.role}" if caller.role else "has no role"
        return answer({"error": f"{caller.who} {role}; this needs {needed} (see [admin] in the configuration)"}, 403)
    if operation is not None:
        _check_query(operation, request.query)
        await _check_body(operation, request)
        if request.method not in ("GET", "HEAD") and (stale := _stale(request)):
            return stale
    return await handler(request)


def _operation(request: web.Request) -> Mapping[str, Any] | None:
    """Return what is described of what is asked; None where there is no such thing, which the handler will say."""
    resource = request.match_info.route.resource
    return find_operation(resource.canonical, request.method) if resource else None


def _changes(request: web.Request) -> bool:
    """Return whether this may change something: GETs do only where they need to operate (a trace)."""
    operation = _operation(request)
    if operation is None or not operation.get("x-audit", True) or request.query.get("plan") == "1":
        return False
    needed = role_for(request.method, operation)
    return needed is Role.OPERATE or (needed is Role.ADMIN and request.method not in ("GET", "HEAD"))


def _check_query(operation: Mapping[str, Any], query: MultiMapping[str]) -> None:
    known = {p["name"]: p for p in operation.get("parameters", ()) if p["in"] == "query"}
    for name in query:
        if name not in known:
            raise ConfigError(name, "unknown parameter", f"known here: {', '.join(known) or 'none'}")
        if not query[name]:
            raise ConfigError(name, "is empty", "give a value, or leave it away")
        if len(query.getall(name)) > 1:
            raise ConfigError(name, "is given twice", "give it once")
    for name, parameter in known.items():
        if parameter.get("required") and name not in query:
            raise ConfigError(name, "missing", "add it to the query")


async def _check_body(operation: Mapping[str, Any], request: web.Request) -> None:
    described = operation.get("requestBody")
    if described is None:
        if request.body_exists and (request.content_length or 0) > 0:
            raise ConfigError("body", "nothing is taken here", "leave it away")
        return
    if "Content-Type" in request.headers and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason=f"{request.content_type} is not taken; send application/json")
    body, schema = await read_json(request), described["content"]["application/json"]["schema"]
    if isinstance(body, dict) and schema.get("additionalProperties") is False:
        for name in body:
            if name not in schema["properties"]:
                raise ConfigError(name, "unknown key", f"known here: {', '.join(schema['properties'])}")


def _stale(request: web.Request) -> web.Response | None:
    """Refuse what was decided on by what is not so any more (RFC 9110, 13.1.1)."""
    if "If-Match" not in request.headers:
        return None
    now = request.app[DAEMON].revision
    if any(tag.value in (now, "*") and not tag.is_weak for tag in request.if_match or ()):
        return None
    return answer(
        {"error": "If-Match: something was changed since you looked; read it again"}, 412, {"ETag": f'"{now}"'}
    )
