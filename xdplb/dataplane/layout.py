"""How a map's keys and values lie in memory: read from BCC once, kept as JSON, rebuilt without BCC.

A type is described as a ctypes letter ("Q"), `{"array": length, "of": type}` or `{"struct": name, "fields": [[name,
type], ...]}`; a map as `{"key": type, "value": type, "entries": n, "per_cpu": bool}`.
"""

from __future__ import annotations

import ctypes
from typing import Any

Description = dict[str, Any] | str

_LETTERS: dict[str, Any] = {
    letter._type_: letter
    for letter in (
        ctypes.c_uint8,
        ctypes.c_uint16,
        ctypes.c_uint32,
        ctypes.c_uint64,
        ctypes.c_int8,
        ctypes.c_int16,
        ctypes.c_int32,
        ctypes.c_int64,
    )
}


def describe(ctype: Any) -> Description:
    """Describe a ctypes type as plain data."""
    if issubclass(ctype, ctypes.Structure):
        return {
            "struct": ctype.__name__,
            "fields": [[name, describe(field)] for name, field, *_ in ctype._fields_],
        }
    if issubclass(ctype, ctypes.Array):
        return {"array": ctype._length_, "of": describe(ctype._type_)}
    letter: str = ctype._type_
    return letter


def build(description: Description) -> Any:
    """Make the ctypes type that `describe` was given."""
    if isinstance(description, str):
        return _LETTERS[description]
    if "array" in description:
        return build(description["of"]) * description["array"]
    fields = [(name, build(field)) for name, field in description["fields"]]
    return type(description["struct"], (ctypes.Structure,), {"_fields_": fields})
