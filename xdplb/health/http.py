"""The `http` and `https` checks: one request, and the answer's status and body. HTTP/1.1 is here, HTTP/2 next door."""

from __future__ import annotations

import functools

import h11

from xdplb.health.check import ProbeEnded
from xdplb.health.connection import Connection, open_connection
from xdplb.health.http2 import ask_http2
from xdplb.health.kinds import Http
from xdplb.health.probe import ProbeFailed, Steps, Target
from xdplb.health.request import MOST_BYTES, Answer, fault, headers_of, padding
from xdplb.model import Check

EXPECTING_A_BODY = {"POST", "PUT", "PATCH"}  # servers wait for one unless they are told (RFC 9110, 8.6)


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Ask, judge, reset."""
    wanted = check.ask if isinstance(check.ask, Http) else Http()
    alpn = "h2" if wanted.http2 else "http/1.1"
    async with open_connection(check, target, steps, (alpn,)) as connection:
        full = connection.segment_bytes if check.full_size and target.packet_bytes else 0
        exchange = ask_http2 if wanted.http2 else ask_http1
        answer = await exchange(connection, wanted, str(target), full)
    if wrong := fault(wanted, answer):
        raise ProbeFailed(wrong)
    cause = f"{check.kind} {target}: {answer.status} in {steps.took_ms:.1f} ms"
    return ProbeEnded(True, cause, connection.warning)


@functools.lru_cache(maxsize=4096)  # h11 checks each header's letters, and they are the same every time
def _request(wanted: Http, host: str, full: int) -> h11.Request:
    headers = [*headers_of(wanted, host)]
    own = {name.lower() for name, _ in headers}
    if "connection" not in own:
        headers.append(("Connection", "close"))
    if wanted.method in EXPECTING_A_BODY and "content-length" not in own:
        headers.append(("Content-Length", "0"))
    length = len(f"{wanted.method} {wanted.path} HTTP/1.1\r\n\r\n")
    length += sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers)
    encoded = [(name.encode(), value.encode()) for name, value in (*headers, *padding(full - length))]
    return h11.Request(method=wanted.method, target=wanted.path, headers=encoded)


async def ask_http1(connection: Connection, wanted: Http, host: str, full: int) -> Answer:
    """Ask in HTTP/1.1, with a request of at least `full` bytes. Raises OSError, ProbeFailed."""
    talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_BYTES)
    try:
        data = (talk.send(_request(wanted, host, full)) or b"") + (talk.send(h11.EndOfMessage()) or b"")
    except h11.LocalProtocolError as error:  # the check's own headers contradict each other
        raise ProbeFailed(f"such a request cannot be sent: {error}") from None
    await connection.send(data, f"sent {wanted.method} {wanted.path}")
    connection.steps.waiting_for = "the head of an answer"
    status, body, heard = 0, bytearray(), b""
    while True:
        event = _next_event(talk)
        if event is h11.NEED_DATA:
            more = await connection.receive()
            if not more and not status:
                raise ProbeFailed(_ended_early(heard))
            heard = heard or _beginning(more)
            talk.receive_data(more)
        elif isinstance(event, h11.Response):
            status = event.status_code
            if wanted.body is None:
                return Answer(status)
            connection.steps.waiting_for = "the end of the body"
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) >= MOST_BYTES:
                return Answer(status, bytes(body[:MOST_BYTES]))
        elif not isinstance(event, h11.InformationalResponse):
            return Answer(status, bytes(body))


def _next_event(talk: h11.Connection) -> object:
    try:
        return talk.next_event()
    except h11.RemoteProtocolError as error:
        raise ProbeFailed(f"the answer is broken: {error}") from None


def _beginning(data: bytes) -> bytes:
    """Return how an answer begins, for people. Raises ProbeFailed at once when it is not HTTP: some never say more."""
    start = b"HTTP/1."
    if data[: len(start)] != start[: len(data)]:
        hint = "; it speaks TLS" if data.startswith(b"\x15\x03") else ""
        raise ProbeFailed(f"the answer is not HTTP/1.1: {data[:60]!r}{hint}")
    return data[:60]


def _ended_early(heard: bytes) -> str:
    if not heard:
        return "the server closed the connection without an answer"
    return f"the server closed the connection in the middle of the head: {heard!r}"
