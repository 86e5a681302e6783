"""Descriptions say what is needed and what may be missing."""

from __future__ import annotations

import jsonschema_rs
import pytest

from xdplb.admin import shapes


def valid(schema: shapes.Schema, value: object) -> bool:
    return jsonschema_rs.is_valid(schema, value)


def test_a_record_needs_its_fields_and_a_body_has_no_others() -> None:
    fields = {"a": shapes.COUNT, "optional": {"b": shapes.maybe(shapes.TEXT)}}
    record, body = shapes.record(**fields), shapes.body(**fields)
    for schema in (record, body):
        assert valid(schema, {"a": 1})
        assert valid(schema, {"a": 1, "b": None})
        assert not valid(schema, {"b": "x"})
        assert not valid(schema, {"a": -1})
    assert (valid(record, {"a": 1, "c": 2}), valid(body, {"a": 1, "c": 2})) == (True, False)


@pytest.mark.parametrize(
    ("text", "right"), [("600", True), ("1.5m", True), ("2h", True), ("soon", False), ("1d", False)]
)
def test_a_duration_is_what_the_parser_takes(text: str, right: bool) -> None:
    assert valid(shapes.DURATION, text) is right


def test_an_operation_tells_what_is_not_usual() -> None:
    plain = shapes.operation("look", shapes.TEXT)
    assert plain == {
        "summary": "look",
        "responses": {"200": {"description": "done", "content": {"application/json": {"schema": shapes.TEXT}}}},
    }
    told = shapes.operation(
        "see", shapes.TEXT, {"n": {**shapes.COUNT, "x-required": True}}, role="admin", audited=False
    )
    assert (told["x-role"], told["x-audit"], told["parameters"][0]["required"]) == ("admin", False, True)


def test_an_event_of_a_stream_has_its_document_as_text() -> None:
    assert valid(shapes.stream_of(shapes.ref("Event")), {"id": "7", "data": "{}"})
    assert valid(shapes.by_name(shapes.many(shapes.whole(1, 2))), {"a": [1, 2], "b": []})
