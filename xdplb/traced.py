"""What tracers ask for, and what is told of a packet that was traced. Pure; who notes it: bpf/trace.h."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_network
from typing import Any

from xdplb.contract import CONSTANTS
from xdplb.desired import DesiredService
from xdplb.errors import ConfigError
from xdplb.headers import read_headers
from xdplb.model import Network

FORWARDED = "forwarded"  # as a reason to ask for
MOST_SAMPLE = 1_000_000
ACTIONS = ("aborted", "drop", "pass", "tx", "redirect")  # enum xdp_action
STATES = {0: "settled", 1: "moved", 2: "moving"}  # SLOT_ >> 30
CHOSEN = {
    CONSTANTS["CHOSEN_BY_RING"]: "ring",
    CONSTANTS["CHOSEN_REMEMBERED"]: "remembered",
    CONSTANTS["CHOSEN_PREVIOUS"]: "previous",
}
_MAPPED = IPv6Address("::ffff:0:0")


@dataclass(frozen=True, slots=True)
class Filter:
    """What a tracer asks for; None: anything. Service and backend by identity, the reason as in bpf/trace_maps.h."""

    source: Network | None = None
    destination: Network | None = None
    port: int | None = None
    service: int | None = None
    backend: int | None = None
    reason: int | None = None
    sample: int = 1  # one packet of so many, at random


@dataclass(frozen=True, slots=True)
class Record:
    """One packet as the program noted it: `struct trace`, with what is left away read as 0."""

    time: int  # CLOCK_MONOTONIC, ns
    tracers: int
    ingress: int
    length: int  # of the frame as it arrived
    length_out: int  # as it was sent; 0: it was not
    service: int
    backend: int
    slot: int
    slot_state: int
    chosen: int
    action: int
    reason: int
    arrived: bytes
    leaving: bytes


@dataclass(frozen=True, slots=True)
class Names:
    """What numbers in records are called."""

    reasons: Sequence[str] = ()  # of `struct verdicts`
    services: Mapping[int, str] = field(default_factory=dict)  # by identity
    backends: Mapping[int, tuple[str, str, int]] = field(default_factory=dict)  # the same: name, address, egress
    interfaces: Mapping[int, str] = field(default_factory=dict)

    def reason(self, number: int) -> str | None:
        """Return a reason's name; None: forwarded."""
        if number == CONSTANTS["TRACE_FORWARDED"]:
            return None
        return self.reasons[number - CONSTANTS["TRACE_REASONS"]]

    def interface(self, index: int) -> str:
        """Return an interface's name."""
        return self.interfaces.get(index, f"if{index}")


def names_of(services: Sequence[DesiredService], interfaces: Mapping[str, int], reasons: Sequence[str]) -> Names:
    """Return the names of what there is now."""
    backends = {
        b.identity: (b.backend.name, str(b.backend.address), b.row.egress if b.row else 0)
        for service in services
        for b in service.backends
    }
    numbers = {index: name for name, index in interfaces.items()}
    return Names(reasons, {s.identity: s.name for s in services}, backends, numbers)


# --- what is asked for --------------------------------------------------------------------------------------


def parse_filter(asked: Mapping[str, str], services: Sequence[DesiredService], reasons: Sequence[str]) -> Filter:
    """Return the filter of `src`, `dst`, `service`, `backend`, `reason` and `sample`. Raises ConfigError."""
    found = Filter(sample=_sample(asked.get("sample", "1")))
    if text := asked.get("src"):
        found = replace(found, source=_prefix("src", text))
    if text := asked.get("dst"):
        destination, port = _split(text)
        found = replace(found, destination=_prefix("dst", destination) if destination else None, port=port)
    if name := asked.get("service"):
        found = replace(found, service=_find_service(name, services).identity)
    if name := asked.get("backend"):
        found = replace(found, backend=_find_backend(name, asked.get("service"), services))
    if name := asked.get("reason"):
        found = replace(found, reason=_find_reason(name, reasons))
    return found


def _sample(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MOST_SAMPLE or len(text) > 9:
        raise ConfigError("sample", f"{text!r} is no number of packets", f"give 1 to {MOST_SAMPLE}: one of so many")
    return int(text)


def _prefix(key: str, text: str) -> Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        fix = 'write "198.51.100.7", "198.51.100.0/24" or "2001:db8::/32"'
        raise ConfigError(key, f"{text!r} is no prefix", fix) from None
    if network.version == 6 and _MAPPED in network:  # addresses are compared in that form
        raise ConfigError(key, f"{text!r} holds IPv4 addresses, too", "give a longer prefix; 2000::/3 for all of IPv6")
    return network


def _split(text: str) -> tuple[str, int | None]:
    """Split `192.0.2.10:80`, `[2001:db8::10]:80`, `:80` or a prefix without a port."""
    head, colon, port = text.rpartition(":")
    if text.startswith("["):
        inside, _, rest = text[1:].partition("]")
        head, colon, port = inside, rest[:1], rest[1:]
        if not rest:
            return inside, None
    elif not colon or ":" in head:
        return text, None
    if colon != ":" or not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
        raise ConfigError(
            "dst", f"{text!r} has no port behind the colon", 'write "192.0.2.10:80" or "[2001:db8::1]:80"'
        )
    return head, int(port)


def _find_service(name: str, services: Sequence[DesiredService]) -> DesiredService:
    for service in services:
        if service.name == name:
            return service
    known = ", ".join(service.name for service in services) or "none"
    raise ConfigError("service", f"there is no {name!r}", f"there are: {known}")


def _find_backend(name: str, service: str | None, services: Sequence[DesiredService]) -> int:
    among = [_find_service(service, services)] if service else services
    found = [(s.name, b.identity) for s in among for b in s.backends if b.backend.name == name]
    if not found:
        raise ConfigError("backend", f"there is no {name!r}", "see `xdplb status`")
    if len(found) > 1:
        raise ConfigError("backend", f"{name!r} is in {', '.join(s for s, _ in found)}", "name the service, too")
    return found[0][1]


def _find_reason(name: str, reasons: Sequence[str]) -> int:
    if name == FORWARDED:
        return CONSTANTS["TRACE_FORWARDED"]
    if name not in reasons:
        raise ConfigError("reason", f"{name!r} is not known", f"give {FORWARDED} or one of {', '.join(reasons)}")
    return CONSTANTS["TRACE_REASONS"] + reasons.index(name)


# --- what is told -------------------------------------------------------------------------------------------


def describe(record: Record, names: Names, ahead_ns: int) -> dict[str, Any]:
    """Return a packet as JSON values; `ahead_ns`: how far the time of day is ahead of the records' clock."""
    headers, reason = read_headers(record.arrived), names.reason(record.reason)
    backend, address, egress = names.backends.get(record.backend, (None, None, 0))
    ingress = names.interface(record.ingress)
    steered = record.backend != 0
    return {
        "at_ns": record.time + ahead_ns,
        "interface": ingress,
        "source": headers.source,
        "source_port": headers.source_port,
        "destination": headers.destination,
        "destination_port": headers.destination_port,
        "protocol": headers.protocol,
        "flags": headers.flags,
        "bytes": record.length,
        "service": names.services.get(record.service),
        "backend": backend,
        "address": address,
        "slot": record.slot if steered else None,
        "slot_state": STATES.get(record.slot_state) if steered else None,
        "chosen": CHOSEN[record.chosen] if steered else None,
        "action": ACTIONS[record.action],
        "reason": reason,
        "bytes_out": record.length_out or None,
        "interface_out": _interface_out(record, names, ingress, egress),
        "frame": base64.b64encode(record.arrived).decode(),
        "frame_out": base64.b64encode(record.leaving).decode() if record.length_out else None,
    }


def _interface_out(record: Record, names: Names, ingress: str, egress: int) -> str | None:
    if not record.length_out:
        return None
    return ingress if ACTIONS[record.action] == "tx" or not egress else names.interface(egress)


def comment(packet: Mapping[str, Any]) -> str:
    """Say in a few words what became of a packet."""
    if packet["reason"]:
        return str(packet["reason"])
    where = f"{packet['service']}/{packet['backend']}"
    how = "" if packet["chosen"] == "ring" else f", {packet['chosen']}"
    done = "passed to this host" if packet["action"] == "pass" else "sent"
    return f"{done}: {where} via slot {packet['slot']} ({packet['slot_state']}{how})"
