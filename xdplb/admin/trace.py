"""`/v1/trace` and `/v1/sources`: what becomes of packets now, and who sends most of them.

What both have in common: a filter in the query, and a tracer of the daemon's for so long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from xdplb.admin.answers import DAEMON, answer
from xdplb.daemon import Daemon
from xdplb.dataplane.trace import monotonic_ns, realtime_ns
from xdplb.errors import ConfigError
from xdplb.sources import Sources
from xdplb.traced import MOST_SAMPLE, Filter, Names, Record, describe, names_of, parse_filter
from xdplb.tracing import MOST_S, Tracer
from xdplb.values import parse_duration, within

ASKED = ("src", "dst", "service", "backend", "reason", "sample")
FOR_S, COUNT, MOST_COUNT = 10.0, 100, 1_000_000
KEEP_ALIVE_S = 0.5  # after so long without a packet, whether anybody is there still
TOGETHER = 100  # packets in one write
SOURCES_FOR_S, SOURCES_MOST_S, SOURCES_COUNT, SOURCES_MOST = 3.0, 60.0, 20, 1000
BUDGET, LOOK_S = 1000, 0.1  # records of sources in that time; with more of them, fewer are sampled


class _Namer:
    """The names of the daemon's things; made anew when those are others."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.reasons = list(daemon.forwarding.kernel.verdicts())
        self._made_of: object = None
        self._names = Names()

    def names(self) -> Names:
        services = self._daemon.services
        if self._made_of is not services:
            self._made_of = services
            self._names = names_of(services, self._daemon.forwarding.interfaces, self.reasons)
        return self._names

    def parse(self, query: Mapping[str, str], *others: str) -> Filter:
        for name in query:
            if name not in (*ASKED, *others):
                raise ConfigError(name, "is not known", f"known here: {', '.join((*ASKED, *others))}")
        return parse_filter(query, self._daemon.services, self.reasons)


def parse_for(query: Mapping[str, str], usual: float, most: float) -> float:
    """Return how long to look, in seconds. Raises ConfigError."""
    text = query.get("for_s")
    return usual if text is None else within("for_s", parse_duration("for_s", text), 0.1, most)


def parse_count(query: Mapping[str, str], usual: int, most: int) -> int:
    """Return how many to tell at the most. Raises ConfigError."""
    text = query.get("count", str(usual))
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise ConfigError("count", f"{text!r} is no number", f"give 1 to {most}")
    return int(within("count", int(text), 1, most))


# --- trace --------------------------------------------------------------------------------------------------


async def _trace(request: web.Request) -> web.StreamResponse:
    """Send packets as server-sent events until time or count are over, or nobody is there any more."""
    daemon, query = request.app[DAEMON], request.query
    namer = _Namer(daemon)
    asked, count = namer.parse(query, "for_s", "count"), parse_count(query, COUNT, MOST_COUNT)
    tracer = await daemon.tracing.open(asked, parse_for(query, FOR_S, MOST_S))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    try:
        with contextlib.suppress(ConnectionResetError):
            await response.prepare(request)
            await response.write(_event("start", {"for_s": tracer.for_s, "count": count}))
            sent = await _send(response, tracer, namer, count)
            why = "count" if sent == count else "stopped" if tracer.stopped else "time"
            daemon.tracing.close(tracer)
            end = {"why": why, "packets": sent, "lost": daemon.tracing.lost(tracer)}
            await response.write(_event("end", end))
    finally:
        daemon.tracing.close(tracer)
    return response


async def _send(response: web.StreamResponse, tracer: Tracer, namer: _Namer, count: int) -> int:
    """Send up to so many packets; return how many."""
    sent, ahead_ns = 0, realtime_ns() - monotonic_ns()
    while sent < count:
        records, over = await _next(tracer, min(TOGETHER, count - sent))
        names = namer.names()
        text = b"".join(_event("packet", describe(record, names, ahead_ns)) for record, _ in records)
        await response.write(text or b":\n\n")  # a comment, by which those who have gone are found out
        sent += len(records)
        if over:
            break
    return sent


async def _next(tracer: Tracer, most: int) -> tuple[list[tuple[Record, int]], bool]:
    """Wait a while for records; return those that are there, and whether they were the last ones."""
    found: list[tuple[Record, int]] = []
    with contextlib.suppress(TimeoutError):
        item = await asyncio.wait_for(tracer.queue.get(), KEEP_ALIVE_S)
        while item is not None:
            found.append(item)
            if len(found) == most or tracer.queue.empty():
                return found, False
            item = tracer.queue.get_nowait()
        return found, True
    return found, False


def _event(kind: str, document: dict[str, Any]) -> bytes:
    """HTML Living Standard, 9.2."""
    return f"event: {kind}\ndata: {json.dumps(document)}\n\n".encode()


async def leave(app: web.Application) -> None:
    """Let everybody who traces know that the daemon ends."""
    app[DAEMON].tracing.stop()


# --- sources ------------------------------------------------------------------------------------------------


async def _sources(request: web.Request) -> web.Response:
    """Look at packets for some seconds; say who sent most."""
    daemon, query = request.app[DAEMON], request.query
    namer = _Namer(daemon)
    asked, count = namer.parse(query, "for_s", "count"), parse_count(query, SOURCES_COUNT, SOURCES_MOST)
    tracer = await daemon.tracing.open(asked, parse_for(query, SOURCES_FOR_S, SOURCES_MOST_S))
    found = Sources()
    try:
        over = False
        while not over:
            await asyncio.sleep(LOOK_S)
            before = found.records
            over = _take(tracer, found, namer.names())
            if not over and found.records - before > BUDGET:
                sample = min(MOST_SAMPLE, tracer.asked.sample * (found.records - before) // BUDGET + 1)
                daemon.tracing.change(tracer, replace(tracer.asked, sample=sample))
    finally:
        daemon.tracing.close(tracer)
    return answer(found.most(count, daemon.tracing.lost(tracer)))


def _take(tracer: Tracer, found: Sources, names: Names) -> bool:
    """Count what is there; tell whether it was the last."""
    while not tracer.queue.empty():
        item = tracer.queue.get_nowait()
        if item is None:
            return True
        found.add(item[0], names, item[1])
    return False


ROUTES = [web.get("/v1/trace", _trace), web.get("/v1/sources", _sources)]

# --- how the API's document tells it ------------------------------------------------------------------------

_TEXT, _WHOLE = {"type": "string"}, {"type": "integer"}
_MAYBE_TEXT = {"type": ["string", "null"]}


def _parameter(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": dict(schema), "description": description}


def _common(for_s: float, most_s: float, count: int, most: int) -> list[dict[str, Any]]:
    return [
        _parameter("src", _TEXT, "prefix of the client's address"),
        _parameter("dst", _TEXT, "prefix of the VIP's address, with or without a port"),
        _parameter("service", _TEXT, "its name"),
        _parameter("backend", _TEXT, "its name"),
        _parameter("reason", _TEXT, "why it was not forwarded; or `forwarded`"),
        _parameter("sample", {"type": "integer", "minimum": 1, "maximum": MOST_SAMPLE}, "one packet of so many"),
        _parameter("for_s", _TEXT, f"seconds, at most {most_s:g}; usually {for_s:g}"),
        _parameter("count", {"type": "integer", "minimum": 1, "maximum": most}, f"at most so many; usually {count}"),
    ]


_SOURCE = {
    "source": _TEXT,
    "service": _MAYBE_TEXT,
    "reason": _MAYBE_TEXT,
    "forwarded": {"type": "boolean"},
    "packets": _WHOLE,
}
_ERROR = {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]}


def _answers(kind: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    error = {"application/json": {"schema": _ERROR}}
    return {
        "200": {"description": description, "content": {kind: {"schema": dict(schema)}}},
        "400": {"description": "what was asked is wrong, or too many trace already", "content": error},
        "500": {"description": "the kernel refused the program that traces", "content": error},
    }


_PACKET_WORDS = "server-sent events: `start`, then `packet` with what became of it, then `end` with why, packets, lost"
_TOLD = {
    "type": "object",
    "properties": {"event": {"enum": ["start", "packet", "end"]}, "data": _TEXT},
    "required": ["event", "data"],
}
_LIST = {"type": "array", "items": {"type": "object", "properties": _SOURCE, "required": list(_SOURCE)}}
PATHS: dict[str, Any] = {
    "/v1/trace": {
        "get": {
            "summary": "Live packets, each with its verdict and reason.",
            "x-role": "operate",
            "parameters": _common(FOR_S, MOST_S, COUNT, MOST_COUNT),
            "responses": _answers("text/event-stream", _TOLD, _PACKET_WORDS),
        }
    },
    "/v1/sources": {
        "get": {
            "summary": "Who sends most packets now.",
            "parameters": _common(SOURCES_FOR_S, SOURCES_MOST_S, SOURCES_COUNT, SOURCES_MOST),
            "responses": _answers("application/json", _LIST, "who sends most, first things first"),
        }
    },
}
