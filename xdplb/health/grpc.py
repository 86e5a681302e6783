"""The `grpc` check: `Check` of grpc.health.v1 must answer SERVING. One call over HTTP/2.

Its two messages have one field each: writing them by hand takes a few lines, where a gRPC library would bring sockets,
threads and an event loop of its own, and no socket that could have our mark.
https://github.com/grpc/grpc/blob/master/doc/health-checking.md, and PROTOCOL-HTTP2.md beside it.
"""

from __future__ import annotations

import struct
from urllib.parse import unquote

from xdplb.health.check import ProbeEnded
from xdplb.health.connection import open_connection
from xdplb.health.http2 import Exchange, RawHeaders, pseudo_headers
from xdplb.health.kinds import Grpc
from xdplb.health.probe import ProbeFailed, Steps, Target
from xdplb.health.request import MOST_BYTES, USER_AGENT
from xdplb.model import Check

PATH = "/grpc.health.v1.Health/Check"
MOST_PADDING = 60000  # less than what may be sent before the server says more (RFC 9113, 6.9.2)
SERVING = 1
SERVING_STATUS = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")  # HealthCheckResponse.ServingStatus
CODES = (  # grpc-status
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
_SERVICE, _PADDING = 1, 1000  # fields of our request; the second is nobody's, and protobuf skips what it does not know
_VARINT, _BYTES = 0, 2  # wire types
_MOST_SHIFT = 63  # of a varint's last byte, its tenth
_PREFIX = struct.Struct(">BI")  # of a message: compressed or not, its length

Headers = dict[bytes, bytes]


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Call, judge, reset."""
    wanted = check.ask if isinstance(check.ask, Grpc) else Grpc()
    async with open_connection(check, target, steps, ("h2",)) as connection:
        full = connection.segment_bytes if check.full_size and target.packet_bytes else 0
        headers = pseudo_headers(connection, "POST", PATH, wanted.host or str(target))
        talk = Exchange(connection)
        await talk.ask([*headers, *_headers(check.timeout_s)], f"called {PATH}", request(wanted.service, full))
        while not talk.over and len(talk.body) < MOST_BYTES:
            await talk.listen()
    if wrong := fault(talk.head, talk.trailers, bytes(talk.body)):
        raise ProbeFailed(wrong)
    return ProbeEnded(True, f"grpc {target}: SERVING in {steps.took_ms:.1f} ms", connection.warning)


def _headers(timeout_s: float) -> RawHeaders:
    return [
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", USER_AGENT.encode()),
        (b"grpc-timeout", b"%dm" % max(1, round(timeout_s * 1000))),
    ]


def request(service: str, full: int) -> bytes:
    """Return a HealthCheckRequest with its prefix, of at least `full` bytes.

    The padding is a field rather than a header: servers refuse headers of 8 KiB and more, which jumbo frames need.
    """
    message = _field(_SERVICE, service.encode()) if service else b""
    if full > len(message):
        message += _field(_PADDING, bytes(min(full - len(message), MOST_PADDING)))
    return _PREFIX.pack(0, len(message)) + message


def fault(head: Headers, trailers: Headers, body: bytes) -> str:
    """Return why an answer does not pass, "" if it does."""
    kind = head.get(b"content-type", b"").decode(errors="replace")
    if not kind.startswith("application/grpc"):
        status = head.get(b":status", b"").decode(errors="replace")
        return f"the answer is not gRPC: status {status}, content-type {kind!r}"
    ended = {**head, **trailers}  # an answer without a message has it all in its head
    code = ended.get(b"grpc-status", b"").decode(errors="replace")
    if code != "0":
        said = unquote(ended.get(b"grpc-message", b"").decode(errors="replace"))
        return f"grpc-status {_code_name(code)}" + (f": {said}" if said else "")
    serving = serving_status(body)
    return "" if serving == SERVING else _status_name(serving)


def _code_name(code: str) -> str:
    if not code:
        return "is missing"
    known = len(code) <= 2 and code.isascii() and code.isdecimal() and int(code) < len(CODES)
    return CODES[int(code)] if known else code


def _status_name(status: int | None) -> str:
    if status is None:
        return "the answer holds no HealthCheckResponse"
    return SERVING_STATUS[status] if status < len(SERVING_STATUS) else f"status {status} of grpc.health.v1"


def serving_status(body: bytes) -> int | None:
    """Return the status in a HealthCheckResponse with its prefix; None if it is none. UNKNOWN is 0, and left out."""
    if len(body) < _PREFIX.size or body[0] or _PREFIX.unpack_from(body)[1] != len(body) - _PREFIX.size:
        return None
    at, status = _PREFIX.size, 0
    try:
        while at < len(body):
            tag, at = _read_varint(body, at)
            length, at = _read_varint(body, at)
            if tag & 7 == _BYTES:  # a field that we do not know
                at += length
            elif tag & 7 != _VARINT:
                return None
            elif tag >> 3 == 1:
                status = length
    except IndexError:
        return None
    return status if at == len(body) else None


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends. Raises IndexError after the data's end and after ten bytes."""
    number = shift = 0
    while data[at] & 0x80:
        if shift >= _MOST_SHIFT:
            raise IndexError("a varint of more than ten bytes")
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1
