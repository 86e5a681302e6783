"""The `quic` check: a handshake is completed (RFC 9000, 7), then the connection is closed.

aioquic keeps the protocol, without its asyncio layer, since a probe's socket has a mark of its own. What it keeps to
itself and we need is read in two places, `_close_of` and `_certificate_of`, and nowhere else.

With `full_size` the first datagram, and by it the handshake, is as long as clients' may be. When nothing comes for half
of the time, a small packet of a version that nobody speaks goes after it: every server answers that with those that it
speaks (RFC 9000, 6), so then it is the length that does not get through.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import AlertDescription
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from xdplb.health.certificate import day, ending, read_certificate
from xdplb.health.check import ProbeEnded
from xdplb.health.datagrams import MOST_BYTES, UDP_HEADER, open_datagrams, payload_bytes
from xdplb.health.kinds import Quic, Tls
from xdplb.health.probe import ProbeFailed, Steps, Target, phrase
from xdplb.model import Check

# Before a server has said how long its datagrams may be, no client sends longer ones, and servers have no room for
# longer ones (quic-go: MaxPacketBufferSize): what fits into Ethernet's 1500 bytes with the headers of IPv6 and UDP.
LONGEST_FIRST = 1452
MOST_DATAGRAMS = 256  # of a handshake
_SHOWN = 200  # characters of a server's reason
_BAD_CERTIFICATE = {AlertDescription.bad_certificate, AlertDescription.certificate_expired}

logging.getLogger("quic").setLevel(logging.CRITICAL)  # our causes say what it would log of every probe


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Shake hands, say goodbye."""
    asked, tls = check.ask if isinstance(check.ask, Quic) else Quic(), check.tls or Tls()
    room = payload_bytes(target, UDP_HEADER)
    if room and room < SMALLEST_MAX_DATAGRAM_SIZE:
        raise ProbeFailed(f"packets of {target.packet_bytes} bytes are too short for QUIC (RFC 9000, 14)")
    size = min(room, LONGEST_FIRST) if check.full_size and room else SMALLEST_MAX_DATAGRAM_SIZE
    connection = QuicConnection(configuration=_configuration(asked, tls, size, check.timeout_s))
    with open_datagrams(target, steps) as opened, _closed_after(connection, opened):
        handshake = _Handshake(connection, opened, tls, target, steps)
        hint_after_s = check.timeout_s / 2 if size > SMALLEST_MAX_DATAGRAM_SIZE else None
        await handshake.complete(hint_after_s)
        spoken = handshake.alpn or "no protocol"
        cause = f"quic {target}: {spoken} in {steps.took_ms:.1f} ms"
        return ProbeEnded(True, cause, _warning(connection, tls))


def _configuration(asked: Quic, tls: Tls, size: int, timeout_s: float) -> QuicConfiguration:
    """Return what aioquic is to do. Raises ProbeFailed when the authorities cannot be read."""
    found = QuicConfiguration(
        alpn_protocols=list(asked.alpn),
        server_name=tls.name,
        verify_mode=ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE,
        max_datagram_size=size,
        idle_timeout=timeout_s + 1,  # so that ours ends first; and a server that misses our goodbye forgets us soon
    )
    if not tls.verify:
        return found
    if tls.ca_file is not None:
        found.load_verify_locations(cadata=_authorities(tls.ca_file))
        return found
    system = ssl.get_default_verify_paths()  # without any, aioquic would take those of the package certifi
    if system.cafile is None and system.capath is None:
        raise ProbeFailed("this system has no certificate authorities: give ca_file, or install ca-certificates")
    found.load_verify_locations(cafile=system.cafile, capath=system.capath)
    return found


def _authorities(path: str) -> bytes:
    """Return what is in a file of authorities, which is read each time, since it may change. Raises ProbeFailed."""
    try:
        pem = Path(path).read_bytes()
        x509.load_pem_x509_certificates(pem)
    except OSError as error:
        raise ProbeFailed(f"ca_file {path}: {phrase(error)}") from None
    except ValueError:
        raise ProbeFailed(f"ca_file {path}: holds no certificates (PEM)") from None
    return pem


class _Handshake:
    """One handshake over one socket."""

    def __init__(
        self, connection: QuicConnection, opened: socket.socket, tls: Tls, target: Target, steps: Steps
    ) -> None:
        self.alpn: str | None = None
        self._connection, self._opened, self._tls, self._steps = connection, opened, tls, steps
        self._loop = asyncio.get_running_loop()
        self._peer = (str(target.address), target.port)
        self._hole = f"packets of {target.packet_bytes} bytes do not get through, small ones do: an answer"
        self._taken = 0
        self._own_id = secrets.token_bytes(8)  # in the small packet

    async def complete(self, hint_after_s: float | None) -> None:
        """Return when it is over. Raises OSError, and ProbeFailed for what the server says instead."""
        self._steps.waiting_for = "an answer"
        hint_at = self._loop.time() + hint_after_s if hint_after_s else float("inf")
        self._connection.connect(self._peer, self._loop.time())
        while not self._over():
            await self._send()
            found = await self._receive(min(hint_at, self._connection.get_timer() or hint_at))
            if found is None and self._loop.time() >= hint_at:
                hint_at = float("inf")
                await self._loop.sock_sendall(self._opened, unknown_version(self._own_id))
                self._steps.note("nothing came: asked with a small packet", sent=SMALLEST_MAX_DATAGRAM_SIZE)
            elif found is None:
                self._connection.handle_timer(self._loop.time())
            elif _is_versions(found, self._own_id):
                self._steps.waiting_for = self._hole
            else:
                hint_at = float("inf")
                self._steps.waiting_for = "the end of the handshake"
                self._connection.receive_datagram(found, self._peer, self._loop.time())
        await self._send()  # the server is to see the end of it, too

    def _over(self) -> bool:
        while event := self._connection.next_event():
            if isinstance(event, HandshakeCompleted):
                self.alpn = event.alpn_protocol
                self._steps.note(f"handshake completed, {self.alpn}")
                return True
        if closed := _close_of(self._connection):
            raise ProbeFailed(_why(closed, self._connection, self._tls))
        return False

    async def _send(self) -> None:
        for data, _ in self._connection.datagrams_to_send(self._loop.time()):
            await self._loop.sock_sendall(self._opened, data)
            self._steps.note("sent", sent=len(data))

    async def _receive(self, until: float) -> bytes | None:
        """Return a datagram, or None when it is time for something else."""
        await asyncio.sleep(0)  # sock_recv does not wait when there is something: no other task, no timeout would run
        try:
            async with asyncio.timeout_at(until if until != float("inf") else None):
                found = await self._loop.sock_recv(self._opened, MOST_BYTES)
        except TimeoutError:
            return None
        self._taken += 1
        if self._taken > MOST_DATAGRAMS:
            raise ProbeFailed(f"{MOST_DATAGRAMS} datagrams, and the handshake is not over")
        self._steps.note("received", received=len(found))
        return found


@contextlib.contextmanager
def _closed_after(connection: QuicConnection, opened: socket.socket) -> Iterator[None]:
    """Close the connection at the end, whatever happened: a server that knows of it is told to forget it."""
    try:
        yield
    finally:
        connection.close()
        with contextlib.suppress(OSError):
            for data, _ in connection.datagrams_to_send(asyncio.get_running_loop().time()):
                opened.send(data)


def _close_of(connection: QuicConnection) -> ConnectionTerminated | None:
    """Return how a connection was closed; its event would come only after the closing period (RFC 9000, 10.2)."""
    return connection._close_event


def _certificate_of(connection: QuicConnection) -> bytes | None:
    certificate = connection.tls._peer_certificate
    return certificate.public_bytes(Encoding.DER) if certificate else None


def _warning(connection: QuicConnection, tls: Tls) -> str:
    der = _certificate_of(connection)
    return ending(der, tls, datetime.now(UTC)) if der else ""


def _why(closed: ConnectionTerminated, connection: QuicConnection, tls: Tls) -> str:
    """Return what a close means; alerts of TLS are 256 and their number (RFC 9001, 4.8)."""
    alert = closed.error_code - QuicErrorCode.CRYPTO_ERROR
    reason = "".join(c if c.isprintable() else "?" for c in closed.reason_phrase[:_SHOWN])
    der = _certificate_of(connection)
    if der and alert in _BAD_CERTIFICATE:
        return _unverified(reason, der, tls)
    if alert == AlertDescription.no_application_protocol:
        return "the server speaks none of the protocols that were offered (ALPN)"
    if closed.error_code == QuicErrorCode.INTERNAL_ERROR and "common protocol version" in reason:
        return "the server speaks none of our versions of QUIC"
    what = f"TLS alert {alert}" if 0 <= alert < 256 else f"error {closed.error_code:#x}"
    return f"closed with {what}{': ' if reason else ''}{reason}"


def _unverified(reason: str, der: bytes, tls: Tls) -> str:
    """Return why a certificate is not good, in our words for what aioquic.tls.verify_certificate says."""
    if "no longer valid" in reason:
        return f"the certificate of {tls.name} expired on {day(read_certificate(der).ends)}"
    if "doesn't match" in reason:
        return f"the certificate is not for {tls.name}"
    return f"the certificate of {tls.name} is not good: {reason[:1].lower()}{reason[1:]}"


def unknown_version(own_id: bytes) -> bytes:
    """Return a packet of a version that is kept free for this (RFC 9000, 15), as short as a first one may be."""
    server_id = secrets.token_bytes(8)
    head = b"\xc0\x1a\x2a\x3a\x4a" + bytes([len(server_id)]) + server_id + bytes([len(own_id)]) + own_id
    return head.ljust(SMALLEST_MAX_DATAGRAM_SIZE, b"\0")


def _is_versions(found: bytes, own_id: bytes) -> bool:
    """Whether this is a list of versions, for the packet with this id (RFC 9000, 17.2.1)."""
    return found[1:5] == bytes(4) and found[5:6] == bytes([len(own_id)]) and found[6 : 6 + len(own_id)] == own_id
