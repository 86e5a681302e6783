"""Words to describe requests and answers with, as OpenAPI 3.1 wants it (JSON Schema 2020-12). Pure values.

An operation is described beside its handler; `openapi` puts all of them together.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
SECONDS: Schema = {"type": "number", "description": "seconds since 1970"}
NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}
ADDRESS: Schema = {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
DURATION: Schema = {
    "type": "string",
    "pattern": r"^[0-9]{1,9}(\.[0-9]{1,3})?[smh]?$",
    "description": "seconds, or `30s`, `10m`, `2h`; 1 s to a week",
}
SWITCH: Schema = {"type": "string", "enum": ["0", "1"]}
NUMBERED: Schema = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1, "description": "only later ones"}


def stream_of(schema: Schema) -> Schema:
    """Return one server-sent event whose data is this, as JSON."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
    return record({"id": TEXT}, data=data)


def whole(least: int, most: int) -> Schema:
    """Return a whole number between bounds."""
    return {"type": "integer", "minimum": least, "maximum": most}


def record(optional: dict[str, Schema] | None = None, **fields: Schema) -> Schema:
    """Return an object with these fields; those of `optional` may be missing."""
    return {"type": "object", "properties": {**fields, **(optional or {})}, "required": list(fields)}


def body(optional: dict[str, Schema] | None = None, **fields: Schema) -> Schema:
    """Return an object of a request: there, unknown keys are refused."""
    return {**record(optional, **fields), "additionalProperties": False}


def many(item: Schema) -> Schema:
    """Return a list."""
    return {"type": "array", "items": item}


def by_name(value: Schema) -> Schema:
    """Return an object whose keys are names."""
    return {"type": "object", "additionalProperties": value}


def maybe(schema: Schema) -> Schema:
    """Return what may also be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    """Return a schema of `schemas` by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def operation(
    summary: str,
    answer: Schema,
    query: dict[str, Schema] | None = None,
    body: Schema | None = None,
    kind: str = "application/json",
    role: str | None = None,
    audited: bool = True,
) -> dict[str, Any]:
    """Return an operation; `kind` is the content type of its answer, `role` the one that it needs if not the usual one.

    `audited`: whether the audit log has a line for it, if it is one that may change something.
    """
    described: dict[str, Any] = {"summary": summary}
    if query:
        described["parameters"] = [
            {"name": name, "in": "query", "required": bool(schema.get("x-required")), "schema": schema}
            for name, schema in query.items()
        ]
    if body:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    content = {kind: {"schema": answer}}
    described |= {"x-role": role} if role else {}
    described |= {} if audited else {"x-audit": False}
    return {**described, "responses": {"200": {"description": "done", "content": content}}}
