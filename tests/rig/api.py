"""The admin API in this process: a daemon that forwards nothing, served on sockets of the test's own."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from xdplb.admin.doors import take_socket, take_tcp
from xdplb.admin.server import serve
from xdplb.config import parse_config
from xdplb.daemon import Daemon

TEXT = f"""
[balancer]
name = "test-api-{os.getpid()}"
interface = "lo"

[[service]]
name = "web"
vips = ["192.0.2.10:80"]
backends = [{{ name = "b1", address = "10.0.11.2" }}, {{ name = "b2", address = "10.0.12.2" }}]
"""


class Api:
    """What a test talks to."""

    def __init__(self, folder: Path, admin: str = "") -> None:
        """`admin`: the `[admin]` table."""
        self.folder, self.path = folder, folder / "run" / "admin.sock"
        self.daemon = Daemon(folder / "xdplb.toml", parse_config(TEXT + admin))
        self.daemon.audit.path = folder / "state" / "audit.jsonl"
        self.loop = asyncio.new_event_loop()
        self.runner: web.AppRunner | None = None

    async def open(self) -> None:
        self.path.parent.mkdir(parents=True)
        admin = self.daemon.config.admin
        self.runner = await serve(self.daemon, take_socket(self.path, admin), take_tcp(admin))

    async def close(self) -> None:
        assert self.runner
        await self.runner.cleanup()

    def connect(self) -> socket.socket:
        """A connection of this process's own."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(str(self.path))
        return connection

    def ask(
        self, method: str, path: str, body: str | None = None, tls: ssl.SSLContext | None = None, **headers: str
    ) -> Answer:
        """One request, on the Unix socket or with TLS on the TCP one; `_` in names of headers is `-`."""
        listen = self.daemon.config.admin.listen
        if tls and listen:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(*listen, timeout=5, context=tls)
        else:
            connection = http.client.HTTPConnection("xdplb")
            connection.sock = self.connect()
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return Answer(response.status, dict(response.headers), content)


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status, self.headers, self.content = status, headers, content

    @property
    def document(self) -> Any:
        """The content's JSON."""
        return json.loads(self.content)

    @property
    def error(self) -> str:
        """What it says is wrong."""
        return str(self.document["error"])


@contextmanager
def opened(folder: Path, admin: str = "") -> Iterator[Api]:
    """Serve, in a thread of its own."""
    api = Api(folder, admin)
    thread = threading.Thread(target=api.loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(api.open(), api.loop).result(5)
        yield api
        asyncio.run_coroutine_threadsafe(api.close(), api.loop).result(5)
    finally:
        api.loop.call_soon_threadsafe(api.loop.stop)
        thread.join(5)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask_as(uid: int, path: Path, text: bytes) -> bytes:
    """What another user gets for these bytes on a Unix socket; "refused" where the kernel lets nobody in."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.write(writer, _ask(path, text))
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as file:
        return file.read()


def _ask(path: Path, text: bytes) -> bytes:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(5)
    found = b""
    try:
        connection.connect(str(path))
    except PermissionError:
        return b"refused"
    try:
        connection.sendall(text)
        while part := connection.recv(65536):
            found += part
    except ConnectionError:
        pass
    return found
