"""The lab's HTTP/1.1 server: it says who it is. `python -m tools.lab.web NAME [--port 80 ...] [--address ::]`

Every request is answered with the body "NAME" and `X-Backend: NAME`, /bytes/N with N bytes; a request's own body is
read and dropped. It prints "ready" once it listens, and what it has served when SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tools.lab.net import Lab  # not at run time: a server needs none of it

ROOT = Path(__file__).resolve().parents[2]
START_PATIENCE_S = 10.0
HEAD_LIMIT_BYTES = 16_384
_BLOCK = bytes(256 * 1024)
_REQUEST = re.compile(rb"[A-Z]+ (\S+) HTTP/1\.([01])\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.I)
_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.I)
_CONTINUE = re.compile(rb"\r\nexpect: *100-continue\r\n", re.I)


class Site:
    """What all connections share."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.requests = self.connections = 0

    def head(self, status: bytes, length: int, close: bool) -> bytes:
        """Return a response's head."""
        connection = b"Connection: close\r\n" if close else b""
        text = b"HTTP/1.1 %b\r\nX-Backend: %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%b\r\n"
        return text % (status, self.name, length, connection)


class Server(asyncio.Protocol):
    """One connection: a request is read whole, then answered whole, then the next."""

    transport: asyncio.Transport

    def __init__(self, site: Site) -> None:
        self.site = site
        self.unread = b""
        self.head = b""  # of the request whose body is being read
        self.skip = 0  # bytes of that body still to come
        self.left = 0  # bytes of a response's body still to be sent
        self.close = False
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.site.connections += 1

    def data_received(self, data: bytes) -> None:
        self.unread += data
        self._go_on()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._send_body()
        self._go_on()

    def _go_on(self) -> None:
        """Answer every request that has arrived whole."""
        while not self.left and not self.close and (self.head or self._read_head()):
            dropped = min(self.skip, len(self.unread))
            self.skip -= dropped
            self.unread = self.unread[dropped:]
            if self.skip:
                return
            head, self.head = self.head, b""
            self._answer(head)

    def _read_head(self) -> bool:
        head, found, rest = self.unread.partition(b"\r\n\r\n")
        if not found:
            if len(head) > HEAD_LIMIT_BYTES:
                self._refuse()
            return False
        self.head, self.unread = head + b"\r\n", rest
        length = _LENGTH.search(self.head)
        self.skip = int(length[1]) if length else 0
        if self.skip > len(rest) and _CONTINUE.search(self.head):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _answer(self, head: bytes) -> None:
        request = _REQUEST.match(head)
        if not request:
            self._refuse()
            return
        self.site.requests += 1
        self.close = request[2] == b"0" or bool(_CLOSE.search(head))
        body, wanted = self.site.name + b"\n", request[1].removeprefix(b"/bytes/")
        if wanted != request[1] and wanted.isdigit():
            body, self.left = b"", int(wanted)
        self.transport.write(self.site.head(b"200 OK", len(body) + self.left, self.close) + body)
        self._send_body()

    def _send_body(self) -> None:
        while self.left and not self.paused:
            block = _BLOCK[: self.left]
            self.left -= len(block)
            self.transport.write(block)
        if self.close and not self.left:
            self.transport.close()

    def _refuse(self) -> None:
        self.close = True
        self.transport.write(self.site.head(b"400 Bad Request", 0, close=True))
        self.transport.close()


def start(
    lab: Lab, backends: Iterable[str], ports: Iterable[int] = (80,), **popen: Any
) -> dict[str, subprocess.Popen[str]]:
    """Start a server on each of these backends; returns when all listen. Raises RuntimeError."""
    command = [sys.executable, "-m", "tools.lab.web", *(f"--port={port}" for port in ports)]
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, **popen}
    children = {name: lab.spawn(name, [*command, name], **options) for name in backends}
    for name, child in children.items():
        assert child.stdout
        ready, _, _ = select.select([child.stdout], [], [], START_PATIENCE_S)
        if not ready or child.stdout.readline() != "ready\n":
            raise RuntimeError(f"the web server of {name} does not start")
    return children


async def serve(site: Site, address: str, ports: Iterable[int]) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in ports:
        listener = socket.create_server((address, port), family=family, backlog=4096, dualstack_ipv6=address == "::")
        await loop.create_server(lambda: Server(site), sock=listener, backlog=4096)
    print("ready", flush=True)
    await stop.wait()


def main() -> None:
    """Read the arguments, serve, say what was served."""
    parser = argparse.ArgumentParser(prog="python -m tools.lab.web", description=(__doc__ or "").partition(" `")[0])
    parser.add_argument("name")
    parser.add_argument("--port", type=int, action="append", help="repeatable (80)")
    parser.add_argument("--address", default="::", help=":: means every address, of both families")
    given = parser.parse_args()
    site, ports = Site(given.name), given.port or [80]
    try:
        asyncio.run(serve(site, given.address, ports))
    except OSError as error:
        sys.exit(f"web: {given.address} port {', '.join(map(str, ports))}: {error}")
    with contextlib.suppress(BrokenPipeError):  # whoever started us may be gone
        print(json.dumps({"requests": site.requests, "connections": site.connections}), flush=True)


if __name__ == "__main__":
    main()
