"""A client's traffic in the lab, from this process: requests, transfers, sockets of a host."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.rig.net import end_daemon
from tools.lab.net import VIP4, VIP6, Lab, address
from tools.lab.stand import Stand, wait_for

PATIENCE_S = 10.0


def ask(
    lab: Lab, vip: str, port: int, down: int = 0, up: int = 0, source: str | None = None, host: str = "client"
) -> tuple[str, int]:
    """Make a request on a new connection, with a body of `up` bytes; returns who answered, and how many bytes came.

    `down`: how many to ask for, 0: the server's name.
    """
    bound = (source, 0) if source else None
    connection = http.client.HTTPConnection(vip, port, timeout=PATIENCE_S, source_address=bound)
    with lab.inside(host), contextlib.closing(connection):
        connection.connect()
        path = f"/bytes/{down}" if down else "/"
        connection.request("PUT" if up else "GET", path, bytes(up) if up else None)
        answer = connection.getresponse()
        came = 0
        while part := answer.read(1 << 20):
            came += len(part)
        return answer.headers["X-Backend"], came


@contextlib.contextmanager
def holding(lab: Lab, host: str, command: str, undo: str) -> Iterator[None]:
    """Have what an ip(8) command says hold for the block."""
    ip(lab, host, command)
    try:
        yield
    finally:
        ip(lab, host, undo)


def ip(lab: Lab, host: str, command: str) -> str:
    """Run ip(8) on a host. Raises AssertionError with its words."""
    done = lab.run(host, ["ip", *command.split()])
    assert done.returncode == 0, f"ip {command}: {done.stderr}"
    return done.stdout


def udp(lab: Lab, host: str, where: tuple[str, int]) -> socket.socket:
    """Return a bound UDP socket of a host."""
    with lab.inside(host):
        opened = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_DGRAM)
    opened.settimeout(PATIENCE_S)
    opened.bind(where)
    return opened


def raw(lab: Lab, host: str, family: int, protocol: int) -> socket.socket:
    """Return a raw socket of a host, of an IP protocol; in IPv6 it gets the bytes behind the IP header."""
    with lab.inside(host):
        opened = socket.socket(family, socket.SOCK_RAW, protocol)
    opened.settimeout(PATIENCE_S)
    return opened


def tap_of(lab: Lab, ifname: str) -> socket.socket:
    """Return a socket that sees the frames of one of the router's interfaces."""
    with lab.inside("router"):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        tap.bind((ifname, 0))
    tap.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the kernel takes the outer tag off before a tap sees it
    tap.settimeout(5)
    return tap


def next_from_lb(tap: socket.socket) -> list[int] | None:
    """Return tags, type and IP protocol of a frame with an outer header that came to the tap, None for others."""
    frame, ancillary, _, sender = tap.recvmsg(4096, 256)
    if sender[2] == 4:  # PACKET_OUTGOING
        return None
    found, at = [], 12
    for _, _, raw in ancillary:
        status, tci = int.from_bytes(raw[:4], "little"), int.from_bytes(raw[16:18], "little")
        found += [tci & 0xFFF] if status & 0x10 else []  # TP_STATUS_VLAN_VALID
    while frame[at : at + 2] == b"\x81\x00":
        found.append(int.from_bytes(frame[at + 2 : at + 4], "big") & 0xFFF)
        at += 4
    found += [int.from_bytes(frame[at : at + 2], "big"), frame[at + 2 + 9]]
    return found if found[-1] == 4 else None


def start(stand: Stand, config: Path, text: str) -> None:
    """Start the daemon with this configuration; returns when every backend is up."""
    end_daemon(stand)
    config.write_text(text)
    stand.start_daemon(config)
    wait_up(stand)


def wait_up(stand: Stand) -> None:
    """Return when every backend is up."""
    wait_for(lambda: all(state == "up" for state in states(stand).values()), f"all up: {states(stand)}", 10)


def states(stand: Stand) -> dict[str, str]:
    """Return each backend's state by SERVICE/NAME."""
    services = stand.client.status()["services"]
    return {f"{s['name']}/{b['name']}": b["state"] for s in services for b in s["backends"]}


def packets(stand: Stand) -> dict[str, int]:
    """Return the packets that each service's backends were sent, by the service's name."""
    services = stand.client.status()["services"]
    return {s["name"]: sum(b["packets"] for b in s["backends"]) for s in services}


def verdicts(stand: Stand) -> dict[str, int]:
    """Return the reasons that were counted."""
    found: dict[str, int] = stand.client.status()["verdicts"]
    return found


def tx_errors(stand: Stand) -> int:
    """Return how many frames the balancer's interfaces failed to send."""
    return sum(nic["xdp_tx_errors"] or 0 for nic in stand.client.status()["interfaces"] if "error" not in nic)


# --- configurations -----------------------------------------------------------------------------------------


def backend(host: str, version: int = 4) -> dict[str, str]:
    """Return a host as one of a service's backends, by its address of this family."""
    return {"name": host, "address": address(host, version)}


def service(name: str, port: int, *backends: dict[str, str], **keys: Any) -> str:
    """Return a [[service]] on this port of both VIPs."""
    table = {"name": name, "vips": [f"{VIP4}:{port}", f"[{VIP6}]:{port}"], **keys}
    if backends:
        table["backends"] = list(backends)
    return "\n".join(["[[service]]", *(f"{key} = {_toml(value)}" for key, value in table.items()), ""])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def unique(name: str) -> str:
    """Return a lab's prefix of this process alone."""
    return f"{name}-{os.getpid()}"
