"""Servers on loopback for probes to meet: a real nginx, real gRPC, and small ones that do what no good server does."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from tools.lab.balancer import ROOT, wait_for
from xdplb.health.probe import Target

HOST = "127.0.0.1"
NAME = "www.example.org"  # what certificates are for
NGINX = shutil.which("nginx") or str(ROOT / ".cache/nginx/usr/sbin/nginx")
PATIENCE_S = 5.0  # nothing here waits for longer
QUARTER = timedelta(days=90)
SO_ATTACH_FILTER = 26  # asm-generic/socket.h

Handler = Callable[[socket.socket], None]
RawHeaders = list[tuple[bytes, bytes]]


def target(port: int, packet_bytes: int = 0) -> Target:
    """Where a server listens."""
    return Target(ip_address(HOST), port, packet_bytes=packet_bytes)


@contextlib.contextmanager
def serve(handle: Handler, context: ssl.SSLContext | None = None, longest: int | None = None) -> Iterator[int]:
    """Accept and handle connections one after another, each closed at its end; yield the port.

    `longest`: TCP packets of more bytes than this get lost on their way here.
    """
    listener = socket.create_server((HOST, 0))
    if longest is not None:
        _lose_longer(listener, longest)
    thread = threading.Thread(target=_accept, args=(listener, handle, context), daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def _accept(listener: socket.socket, handle: Handler, context: ssl.SSLContext | None) -> None:
    while True:
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        accepted.settimeout(PATIENCE_S)
        with accepted, contextlib.suppress(OSError):  # whoever is probed is also left
            if context is None:
                handle(accepted)
            else:
                with context.wrap_socket(accepted, server_side=True) as secure:
                    handle(secure)


def _lose_longer(listener: socket.socket, longest: int) -> None:
    """A filter on the socket sees each packet from its TCP header on, before anything is acknowledged."""
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x80, 0, 0, 0),  # A = length of the packet
            (0x25, 1, 0, longest),  # A > longest: skip one
            (0x06, 0, 0, 0xFFFFFFFF),  # take all of it
            (0x06, 0, 0, 0),  # take nothing
        )
    )
    memory = ctypes.create_string_buffer(program)
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", 4, ctypes.addressof(memory)))


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose listener has a full backlog: it does not answer a SYN."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server((HOST, 0), backlog=0))
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def silent(accepted: socket.socket) -> None:
    """Say nothing until the other side has gone."""
    while accepted.recv(65536):
        pass


def says(answer: bytes) -> Handler:
    """Read once, answer, close."""

    def handle(accepted: socket.socket) -> None:
        accepted.recv(65536)
        accepted.sendall(answer)
        accepted.shutdown(socket.SHUT_WR)
        silent(accepted)

    return handle


def slow(answer: bytes, after_s: float = 0.3) -> Handler:
    """Answer, but late."""

    def handle(accepted: socket.socket) -> None:
        accepted.recv(65536)
        threading.Event().wait(after_s)
        accepted.sendall(answer)

    return handle


def answering(answer: Callable[[H2Connection, RawHeaders], None]) -> Handler:
    """Speak HTTP/2 until a request is there, and then do with it what is told."""

    def handle(accepted: socket.socket) -> None:
        talk = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        talk.initiate_connection()
        asked = None
        while asked is None:
            accepted.sendall(talk.data_to_send())
            events = talk.receive_data(accepted.recv(65536))
            asked = next((event for event in events if isinstance(event, RequestReceived)), None)
        answer(talk, asked.headers)
        accepted.sendall(talk.data_to_send())
        accepted.shutdown(socket.SHUT_WR)
        silent(accepted)

    return handle


@dataclass(frozen=True)
class Authority:
    """Somebody who signs certificates, and a file that says who it is."""

    ca: trustme.CA
    file: str
    folder: Path

    def context(self, *names: str, ends_in: timedelta = QUARTER, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Return a server's context, with a certificate for the names that ends so long from now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.issue(*names, ends_in=ends_in).configure_cert(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def issue(self, *names: str, ends_in: timedelta = QUARTER) -> trustme.LeafCert:
        """Return a certificate."""
        now = datetime.now(UTC)
        return self.ca.issue_cert(*names or (NAME,), not_before=now - timedelta(days=400), not_after=now + ends_in)

    @staticmethod
    def day(ends_in: timedelta) -> str:
        """Return the day on which such a certificate ends."""
        return (datetime.now(UTC) + ends_in).date().isoformat()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that checks know by its file."""
    folder, ca = tmp_path_factory.mktemp("authority"), trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    return Authority(ca, str(folder / "ca.pem"), folder)


@dataclass(frozen=True)
class Nginx:
    """The ports of a real nginx: each speaks what its name says."""

    http: int
    https: int
    h2c: int
    h2: int
    hasty: int  # HTTP/2, and says goodbye before it answers


_NGINX = """
pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; daemon off; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; default_type text/plain; ssl_certificate {folder}/chain; ssl_certificate_key {folder}/key;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {host}:{http}; listen {host}:{https} ssl; listen {host}:{h2c} http2; listen {host}:{h2} ssl http2;
    location = / {{ return 200 "all is well\\n"; }}
    location = /asked {{ return 200 "$request_method $host $http_user_agent $http_x_own $request_length"; }}
    location = /moved {{ return 301 /; }}
    location = /broken {{ return 503 "no\\n"; }}
    location = /big {{ root {folder}; }}
  }}
  server {{ listen {host}:{hasty} http2; keepalive_requests 1; location / {{ return 200 "bye"; }} }}
}}
"""


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Nginx]:
    """One nginx for all; `/` is well, `/asked` says what came, `/big` ends with END after more than 64 KiB."""
    folder, certificate = tmp_path_factory.mktemp("nginx"), authority.issue(NAME)
    (folder / "chain").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (folder / "key").write_bytes(certificate.private_key_pem.bytes())
    (folder / "big").write_bytes(b"BEGIN" + bytes(100_000) + b"END")
    ports = Nginx(*(closed_port() for _ in range(5)))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "conf").write_text(_NGINX.format(folder=folder, host=HOST, user=user, **vars(ports)))
    log = folder / "error.log"
    server = subprocess.Popen([NGINX, "-c", folder / "conf", "-e", log])
    wait_for((folder / "pid").exists, "nginx")
    yield ports
    server.terminate()
    server.wait(PATIENCE_S)
