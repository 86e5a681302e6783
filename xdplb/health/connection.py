"""A connection of a probe, with TLS or without: bytes out and in, told step by step, and reset at the end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from xdplb.health.certificate import Certificate, ending, read_certificate
from xdplb.health.kinds import Kind, Tls
from xdplb.health.probe import ProbeFailed, Steps, Target
from xdplb.health.secure import context_for, meaning, unverified
from xdplb.health.sockets import connect, open_socket
from xdplb.model import Check

READ_BYTES = 16384  # at a time
MOST_BYTES = 262144  # of all that a server says in one probe


class Connection:
    """Bytes to and from a server. `warning` is what should be mended about its certificate."""

    def __init__(self, opened: socket.socket, steps: Steps) -> None:
        """`opened` is connected, and stays its opener's."""
        self.opened, self.steps, self.warning = opened, steps, ""
        self._loop, self._taken = asyncio.get_running_loop(), 0

    @property
    def segment_bytes(self) -> int:
        """What one full packet to the server carries: as agreed with it, without TCP's options."""
        return segment_bytes(self.opened)

    async def send(self, data: bytes, what: str = "sent") -> None:
        """Send all of it; `what` is the step's name."""
        await self._loop.sock_sendall(self.opened, data)
        self.steps.note(what, sent=len(data))

    async def receive(self) -> bytes:
        """Return what has come, at least a byte; b"" when the server has closed."""
        data = await self._take()
        self.steps.note("received" if data else "closed by the server", received=len(data))
        return data

    async def _take(self) -> bytes:
        """Return what has come. Who never stops sending neither stops the daemon nor goes on for ever."""
        await asyncio.sleep(0)  # sock_recv does not wait when there is something: no other task, no timeout would run
        data = await self._loop.sock_recv(self.opened, READ_BYTES)
        self._taken += len(data)
        if self._taken > MOST_BYTES:
            raise ProbeFailed(f"the server sends more than {MOST_BYTES} bytes")
        return data


class SecureConnection(Connection):
    """The same inside TLS, whose bytes go through memory: the socket stays ours, and marked."""

    def __init__(self, opened: socket.socket, steps: Steps, tls: Tls, alpn: Sequence[str] = ()) -> None:
        """Nothing is sent yet. Raises ProbeFailed."""
        super().__init__(opened, steps)
        self.tls = tls
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._layer = context_for(tls, alpn).wrap_bio(self._in, self._out, server_hostname=tls.name)
        except ValueError as error:  # of IDNA, for one
            raise ProbeFailed(f"{tls.name!r} is no name to ask for: {error}") from None

    @property
    def alpn(self) -> str | None:
        """The protocol that the server has chosen."""
        return self._layer.selected_alpn_protocol()

    @property
    def version(self) -> str:
        """The protocol's version, such as TLSv1.3."""
        return self._layer.version() or "TLS"

    @property
    def der(self) -> bytes:
        """The server's certificate."""
        return self._layer.getpeercert(binary_form=True) or b""

    async def shake_hands(self) -> None:
        """Our last bytes stay here, to go with the first of the talk: one packet less.

        Raises ssl.SSLCertVerificationError, ProbeFailed.
        """
        self.steps.waiting_for = "the end of the TLS handshake"
        while True:
            try:
                self._layer.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.flush()
                await self._fill("in the middle of the TLS handshake")
            except ssl.SSLCertVerificationError:
                raise
            except ssl.SSLError as error:
                raise ProbeFailed(meaning(error)) from None
        cipher = self._layer.cipher()
        self.steps.note(f"TLS handshake: {self.version}, {cipher[0] if cipher else 'no cipher'}")
        self.warning = ending(self.der, self.tls, datetime.now(UTC))

    async def send(self, data: bytes, what: str = "sent") -> None:
        """Send all of it; `what` is the step's name."""
        self._layer.write(data)
        await self.flush()
        self.steps.note(what, sent=len(data))

    async def receive(self) -> bytes:
        """Return what has come, at least a byte; b"" when the server has closed. Raises ProbeFailed."""
        while True:
            try:
                data = self._layer.read(READ_BYTES)
                break
            except ssl.SSLWantReadError:
                await self._fill("")
            except ssl.SSLError as error:
                raise ProbeFailed(meaning(error)) from None
        self.steps.note("received" if data else "closed by the server", received=len(data))
        return data

    async def flush(self) -> None:
        """Send what waits in memory."""
        if self._out.pending:
            await self._loop.sock_sendall(self.opened, self._out.read())

    async def _fill(self, closed: str) -> None:
        data = await self._take()
        if data:
            self._in.write(data)
        elif closed:
            raise ProbeFailed(f"the server closed the connection {closed}")
        else:
            self._in.write_eof()


@contextlib.asynccontextmanager
async def open_connection(
    check: Check, target: Target, steps: Steps, alpn: Sequence[str] = ()
) -> AsyncIterator[Connection]:
    """Connect, with TLS if the check has it; reset at the end. Raises OSError, ProbeFailed."""
    tls = check.tls or (Tls() if check.kind in (Kind.TLS, Kind.HTTPS) else None)
    try:
        with open_socket(target, socket.SOCK_STREAM) as opened:
            await connect(opened, target, steps)
            with _blaming_the_way(opened, check, target, steps):
                connection = Connection(opened, steps) if tls is None else SecureConnection(opened, steps, tls, alpn)
                if isinstance(connection, SecureConnection):
                    await connection.shake_hands()
                yield connection
    except ssl.SSLCertVerificationError as error:
        assert tls is not None
        steps.waiting_for = f"what else is wrong with a certificate ({error.verify_message})"
        raise ProbeFailed(unverified(error, tls, await _look_again(check, tls, target))) from None


async def _look_again(check: Check, tls: Tls, target: Target) -> Certificate | None:
    """Return a certificate that was not good: Python's ssl shows only good ones, so a second handshake takes any."""
    unverifying = replace(check, tls=replace(tls, verify=False, ca_file=None))
    with contextlib.suppress(OSError, ProbeFailed, ValueError):
        async with open_connection(unverifying, target, Steps()) as connection:
            assert isinstance(connection, SecureConnection)
            return read_certificate(connection.der)
    return None


def segment_bytes(opened: socket.socket) -> int:
    """Return what one full packet of a connection carries."""
    return opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


@contextlib.contextmanager
def _blaming_the_way(opened: socket.socket, check: Check, target: Target, steps: Steps) -> Iterator[None]:
    """When what was sent has not even arrived, a timeout says so: then the answer is not what is missing."""
    try:
        yield
    except asyncio.CancelledError:
        unacknowledged: int = struct.unpack("i", fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        if unacknowledged > 0:  # SIOCOUTQ, tcp(7)
            hole = f" (packets of {target.packet_bytes} bytes probably do not get through)"
            full = check.full_size and target.packet_bytes and unacknowledged >= segment_bytes(opened)
            steps.waiting_for = f"an acknowledgement of the {unacknowledged} bytes sent{hole if full else ''}"
        raise
