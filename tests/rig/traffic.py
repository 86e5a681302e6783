"""A client's traffic in the lab, from this process: requests, transfers, sockets of a host."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.lab.net import Lab, address
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
def plugged(lab: Lab, host: str, ifname: str, *settings: str) -> Iterator[None]:
    """Have `ip link set IFNAME ...` hold for the block; `settings` is `mtu`, what it is to be, and what it was."""
    name, value, before = settings
    ip(lab, host, f"link set {ifname} {name} {value}")
    try:
        yield
    finally:
        ip(lab, host, f"link set {ifname} {name} {before}")


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


def start(stand: Stand, config: Path, text: str) -> None:
    """Start the daemon with this configuration; returns when every backend is up."""
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


def backend(name: str, *versions: int) -> str:
    """Return lines of a service's `backends`: this host by its addresses of these families."""
    lines = (f'{{ name = "{name}{v if len(versions) > 1 else ""}", address = "{address(name, v)}" }}' for v in versions)
    return f"[{', '.join(lines)}]"


def service(name: str, vips: Sequence[str], backends: str = "[]", **keys: object) -> str:
    """Return a [[service]] of a configuration; values as TOML writes them, strings without their quotes."""
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in keys.items()]
    shown = ", ".join(f'"{vip}"' for vip in vips)
    own = [] if backends == "[]" else [f"backends = {backends}"]
    return "\n".join(["[[service]]", f'name = "{name}"', f"vips = [{shown}]", *own, *lines, ""])


def unique(name: str) -> str:
    """Return a lab's prefix of this process alone."""
    return f"{name}-{os.getpid()}"
