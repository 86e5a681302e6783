"""`POST /v1/explain`: what would become of packets, told by the loaded program on copies of what it writes."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from xdplb.admin.answers import DAEMON, answer, read_body
from xdplb.explain.question import FIELDS, MOST_FRAMES, parse_question


async def _explain(request: web.Request) -> web.Response:
    question = parse_question(await read_body(request))
    return answer({"explained": await request.app[DAEMON].explain(question.frames, question.interface)})


ROUTES: list[web.RouteDef] = [web.post("/v1/explain", _explain)]

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_TEXTS = {"type": "array", "items": _TEXT}
_OBJECT_OR_NULL = {"type": ["object", "null"]}
_QUESTION = {
    "type": "object",
    "description": 'One of "hex", "frames", or "src" and "dst" with what else makes a packet.',
    "additionalProperties": False,
    "properties": {
        "hex": {**_TEXT_OR_NULL, "description": "a frame from its Ethernet header on"},
        "frames": {"type": ["array", "null"], "items": _TEXT, "minItems": 1, "maxItems": MOST_FRAMES},
        "in": {**_TEXT_OR_NULL, "description": "the interface that it comes in by"},
        **dict.fromkeys(FIELDS[:-1], _TEXT_OR_NULL),
        "length": {"type": ["integer", "null"], "description": "bytes of the IP packet"},
    },
}
_FRAME = {
    "type": "object",
    "required": ["bytes", "layers", "hex"],
    "properties": {
        "bytes": {"type": "integer"},
        "hex": _TEXT,
        "layers": {"type": "array", "items": {"type": "object", "properties": {"name": _TEXT, "text": _TEXT}}},
    },
}
_EXPLANATION: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": _TEXT,
        "action": {"enum": ["aborted", "drop", "pass", "tx", "redirect"]},
        "reason": _TEXT_OR_NULL,
        "cause": _TEXT,
        "fix": _TEXT_OR_NULL,
        "warnings": _TEXTS,
        "disagreements": _TEXTS,
        "in": {"type": "object", "properties": {"name": _TEXT, "index": {"type": "integer"}}},
        "frame": _FRAME,
        **dict.fromkeys(("flow", "service", "guard", "slot", "backend", "out"), _OBJECT_OR_NULL),
        "traces": _TEXTS,
    },
}
_EXPLANATION["required"] = list(_EXPLANATION["properties"])
_ANSWER = {
    "type": "object",
    "required": ["explained"],
    "properties": {"explained": {"type": "array", "items": _EXPLANATION}},
}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


PATHS: dict[str, Any] = {
    "/v1/explain": {
        "post": {
            "summary": "Say what would become of packets; change nothing",
            "x-role": "read",
            "requestBody": {"required": True, "content": {"application/json": {"schema": _QUESTION}}},
            "responses": {
                "200": _response("an explanation of each", _ANSWER),
                "400": _response("the question is wrong", _ERROR),
                "500": _response("it could not be answered", _ERROR),
            },
        }
    }
}
