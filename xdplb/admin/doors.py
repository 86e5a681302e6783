"""The sockets of the admin API: connections are taken here, and who may nothing is let go before a byte is read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Hashable
from pathlib import Path
from typing import Any, cast

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from xdplb import notify
from xdplb.admin.callers import Caller, find_certificate, find_peer
from xdplb.admin.certificates import Certificates
from xdplb.admin.connections import IDLE_S, Connection, Connections
from xdplb.errors import RefusedError
from xdplb.logs import log_bug, log_event
from xdplb.model import Admin

log = logging.getLogger("xdplb")

HANDSHAKE_S = 5.0
FULL_S = 0.1  # until the next try when this process has no file descriptors left
BACKLOG = 2048  # the kernel refuses who does not wait when it is full
NOBODY = Caller("nobody")


def take_socket(path: Path, admin: Admin = Admin()) -> socket.socket:  # noqa: B008 (a frozen value)
    """Bind the admin socket, replacing one that nobody listens on. Raises RefusedError when it is taken.

    One that systemd opened there (xdplb.socket) is taken as it is.
    """
    if given := notify.given_socket(path):
        set_modes(path, admin)
        return given
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if path.is_socket():
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as other:
            try:
                other.connect(str(path))
            except OSError:
                path.unlink()  # left by a daemon that was killed
    old = os.umask(0o177)  # nobody but root, until the modes are set
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        fix = "end the program that listens there (`ss -xlp`), or set another balancer.name"
        raise RefusedError(f"admin socket {path} is taken ({error.strerror}); {fix}") from None
    finally:
        os.umask(old)
    set_modes(path, admin)
    return listener


def set_modes(path: Path, admin: Admin) -> None:
    """Let others than root connect only where somebody else has a role; the daemon then sees who they are."""
    others = any(admin.users.values())
    for file in path.parent.iterdir():  # what else is there is root's: the hash key, the lock
        if file.is_file():
            file.chmod(0o600)
    path.parent.chmod(0o711 if others else 0o700)
    if others and not path.parent.parent.stat().st_mode & 0o001:
        path.parent.parent.chmod(0o711)
    path.chmod(0o666 if others else 0o600)


def take_tcp(admin: Admin) -> socket.socket | None:
    """Bind the TCP socket, if one is wanted. Raises RefusedError."""
    if admin.listen is None:
        return None
    host, port = admin.listen
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        fix = f"see `ss -tlp sport = :{port}` and `ip address`, or set another admin.listen"
        raise RefusedError(f"admin.listen {host} port {port} cannot be taken ({error.strerror}); {fix}") from None
    return listener


class Held(RequestHandler):
    """The server's end of one connection, with who has the other end."""

    def __init__(self, door: Door, place: Connection, caller: Caller | None) -> None:
        """`caller` None: the certificate will tell."""
        patience = IDLE_S * 2  # ours is the shorter one
        super().__init__(door.server, loop=asyncio.get_running_loop(), access_log=None, keepalive_timeout=patience)  # type: ignore[arg-type]
        self.door, self.place = door, place
        self._caller, self._of = caller, door.admin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.place.transport = cast(asyncio.Transport, transport)
        self.place.rest()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.door.connections.forget(self.place)
        super().connection_lost(exc)

    @property
    def caller(self) -> Caller:
        """Who asks, with the role that they have now."""
        admin, transport = self.door.admin(), self.transport
        if transport is not None and (self._caller is None or self._of is not admin):
            self._of = admin
            if peer := transport.get_extra_info("peercert"):
                self._caller = find_certificate(peer, str(transport.get_extra_info("peername")[0]), admin)
            elif not self.door.certificates:
                self._caller = find_peer(transport.get_extra_info("socket"), admin)
        return self._caller or NOBODY


class Door:
    """Takes connections from one listener, until it is closed."""

    def __init__(self, listener: socket.socket, server: Server, admin: Callable[[], Admin]) -> None:
        """`admin`: who may what, as it is configured now."""
        self._listener, self.server, self.admin = listener, server, admin
        self.connections = Connections()
        self.certificates: Certificates | None = None
        self.refused: Callable[[Caller], None] = lambda caller: None
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, certificates: Certificates | None = None) -> None:
        """Begin; with certificates, as mutual TLS."""
        self.certificates = certificates
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._start(self._run())

    async def close(self) -> None:
        """Take no more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """What ends by itself with an error does so for a bug: say so loudly."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log_bug(log, "admin: a connection was not taken", error)

    async def _run(self) -> None:
        while True:
            try:
                connection, address = await asyncio.get_running_loop().sock_accept(self._listener)
            except OSError as error:
                text = f"admin: no connection can be taken: {error.strerror}"
                log_event(log, logging.ERROR, "admin_full", text, error=error.strerror or "")
                await asyncio.sleep(FULL_S)
                continue
            try:
                await self._take(connection, address)
            except Exception as error:  # of one caller: the others still come in
                connection.close()
                log_bug(log, "admin: a connection was not taken", error)

    async def _take(self, connection: socket.socket, address: Any) -> None:
        if self.certificates:
            context = self.certificates.renew(self.admin())
            self._start(self._admit(connection, address[0], None, context))
            return
        caller = find_peer(connection, self.admin())
        if caller.role is None:
            self.refused(caller)
            connection.close()
        else:
            await self._admit(connection, caller.details["uid"], caller)  # one after the other: this waits for nobody

    async def _admit(
        self,
        connection: socket.socket,
        owner: Hashable,
        caller: Caller | None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Hand a connection to the server; there, nothing of it is read before the certificate was seen."""
        place = self.connections.admit(owner)
        if place is None:
            connection.close()
            return
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Held(self, place, caller),
                connection,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_S if context else None,
            )
        except OSError:  # also ssl.SSLError: no certificate, or none of our authority's
            self.connections.forget(place)
            connection.close()
