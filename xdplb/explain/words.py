"""An explanation for people: the first line names the cause, the others tell the way, stage by stage. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

WIDTH = 10  # of a stage's name
BYTES_IN_LINE = 16
NO_FIX = "nothing"

Document = Mapping[str, Any]


def lines(document: Document, verbose: bool = False) -> Iterator[str]:
    """Yield the lines of one explanation; `verbose`: with the bytes that came and went."""
    yield document["summary"]
    for text in document["disagreements"]:
        yield f"DISAGREEMENT: {text}"
    for text in document["warnings"]:
        yield f"it would not come here: {text}"
    if document["fix"]:
        yield _line("do", document["fix"])
    yield from _frame("came in", f"by {document['in']['name']}", document["frame"])
    yield from _found(document)
    if document["slot"]:
        yield _line("slot", _slot(document["slot"]))
    if document["backend"]:
        yield _line("backend", _backend(document["backend"]))
    if document["out"]:
        same = document["out"]["hex"] == document["frame"]["hex"]
        yield from _frame("goes", f"to {document['out']['to']}", {} if same else document["out"])
    yield from (_line("leaves", text) for text in document["traces"])
    yield _line(
        "verdict", f"XDP_{document['action'].upper()}" + (f", {document['reason']}" if document["reason"] else "")
    )
    if verbose:
        yield from _bytes("in", document["frame"])
        yield from _bytes("out", document["out"]) if document["out"] else ()


def _line(stage: str, text: str) -> str:
    return f"  {stage:<{WIDTH}}{text}"


def _frame(stage: str, text: str, frame: Document) -> Iterator[str]:
    yield _line(stage, f"{text}, {frame['bytes']} bytes" if frame else text)
    yield from (_line("", f"  {layer['name']} {layer['text']}".rstrip()) for layer in frame.get("layers", ()))


def _found(document: Document) -> Iterator[str]:
    flow, service, guard = document["flow"], document["service"], document["guard"]
    if flow:
        yield _line("parsed", _flow(flow))
    if service:
        yield _line("service", f"{service['name']}, by VIP {service['vip']}: {service['matched']}")
    if guard:
        yield _line("guard", _guard(guard))
        yield from (_line("limit", limit["text"]) for limit in guard["limits"])


def _flow(flow: Document) -> str:
    source, to = (
        _endpoint(flow[host], flow[port]) for host, port in (("source", "source_port"), ("destination", "port"))
    )
    text = f"{flow['protocol']} {source} > {to}" + (", a new connection" if flow["opens"] else "")
    if flow["kind"] == "ICMP error":
        return f"ICMP error of {flow['sender']} about {text}"
    return text if flow["kind"] == "packet" else f"{text}, {flow['kind']}"


def _endpoint(host: str, port: int) -> str:
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _guard(guard: Document) -> str:
    if guard["prefix"]:
        text = f"{guard['prefix']} is on the {guard['verdict']} list"
    elif guard["known"] or not guard["compiled"]:
        text = "its sender is on no list"
    else:
        text = "what the lists say is not known without the daemon"
    return text + (f"; only counted: {', '.join(guard['spared'])}" if guard["spared"] else "")


def _slot(slot: Document) -> str:
    text = f"{slot['number']} of {slot['ring_size']}, {slot['state']}, of {slot['backend']}"
    text += f", before of {slot['previous']}" if slot["previous"] else ""
    return text + (f"; flow remembered for {slot['remembered']}" if slot["remembered"] else "")


def _backend(backend: Document) -> str:
    name = f"{backend['name']} ({backend['address']})" if backend["name"] else backend["address"]
    notes = "".join(f"; {note}" for note in backend["notes"])
    return f"{name}, {backend['state']}: {backend['because']}{notes}"


def _bytes(name: str, frame: Document) -> Iterator[str]:
    raw = bytes.fromhex(frame["hex"])
    for at in range(0, len(raw), BYTES_IN_LINE):
        yield _line(name if not at else "", f"{at:04x}  {raw[at : at + BYTES_IN_LINE].hex(' ')}")
