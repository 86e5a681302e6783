"""One request over HTTP/2 and its answer, by h2. With TLS the server must choose it (ALPN); without, it is assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.config
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from h2.connection import H2Connection
from hpack import NeverIndexedHeaderTuple

from xdplb.health.connection import Connection, SecureConnection
from xdplb.health.kinds import Http
from xdplb.health.probe import ProbeFailed
from xdplb.health.request import MOST_BYTES, Answer, headers_of, padding

if TYPE_CHECKING:
    from hyperframe.frame import Frame, GoAwayFrame

STREAM = 1  # a connection's first, and here its only one (RFC 9113, 5.1.1)
# Our headers are right, so they are not looked at twice; those of the server are.
_CONFIG = h2.config.H2Configuration(
    client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
)
_NOT_IN_HTTP2 = {"host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}  # 8.2.2

RawHeaders = list[tuple[bytes, bytes]]


async def ask_http2(connection: Connection, wanted: Http, host: str, full: int) -> Answer:
    """Ask for a page, with a request of at least `full` bytes. Raises OSError, ProbeFailed."""
    (_, authority), *others = headers_of(wanted, host)
    request = pseudo_headers(connection, wanted.method, wanted.path, authority)
    for name, value in others:
        if name.lower() not in _NOT_IN_HTTP2:
            request.append((name.lower().encode(), value.encode()))
    # Else the second line of padding would be a byte long: the same as the first
    request += [NeverIndexedHeaderTuple(name.lower().encode(), value.encode()) for name, value in padding(full)]
    talk = Exchange(connection)
    await talk.ask(request, f"sent {wanted.method} {wanted.path}")
    while not talk.over and not (talk.head and wanted.body is None) and len(talk.body) < MOST_BYTES:
        await talk.listen()
    return Answer(talk.status, bytes(talk.body[:MOST_BYTES]))


def pseudo_headers(connection: Connection, method: str, path: str, authority: str) -> RawHeaders:
    """Return what stands in front of a request's headers (RFC 9113, 8.3.1)."""
    scheme = b"https" if isinstance(connection, SecureConnection) else b"http"
    texts = [(b":method", method), (b":path", path), (b":authority", authority)]
    return [(b":scheme", scheme), *((name, text.encode()) for name, text in texts)]


class _Patient(H2Connection):
    """h2 takes a GOAWAY for the end; but a server may say goodbye first and answer then, as nginx does (6.8)."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[h2.events.Event]]:
        if frame.error_code == h2.errors.ErrorCodes.NO_ERROR and frame.last_stream_id >= STREAM:
            return [], []
        return super()._receive_goaway_frame(frame)


class Exchange:
    """A request and what has come of its answer: `head`, then `body`, perhaps `trailers`; then it is `over`."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is sent yet. Raises ProbeFailed when the server has chosen another protocol."""
        if isinstance(connection, SecureConnection) and connection.alpn != "h2":
            chosen = f"chose {connection.alpn!r}" if connection.alpn else "chose nothing"
            raise ProbeFailed(f"the server does not speak HTTP/2: of the protocols offered (ALPN) it {chosen}")
        self.head: dict[bytes, bytes] = {}
        self.trailers: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.over = False
        self._connection, self._heard = connection, False
        self._talk = _Patient(_CONFIG)
        self._talk.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.ENABLE_PUSH: 0}
        )

    @property
    def status(self) -> int:
        """The answer's status; 0 before there is one."""
        status = self.head.get(b":status", b"0")
        return int(status) if len(status) == 3 and status.isdigit() else 0

    async def ask(self, headers: RawHeaders, what: str, body: bytes = b"") -> None:
        """Send it all at once: a server needs not have said a word before (RFC 9113, 3.4)."""
        self._talk.initiate_connection()
        self._talk.send_headers(STREAM, headers, end_stream=not body)
        most = self._talk.max_outbound_frame_size
        for begin in range(0, len(body), most):
            self._talk.send_data(STREAM, body[begin : begin + most], end_stream=begin + most >= len(body))
        await self._connection.send(self._talk.data_to_send(), what)
        self._connection.steps.waiting_for = "the head of an answer"

    async def listen(self) -> None:
        """Take what comes next. Raises OSError, ProbeFailed."""
        data = await self._connection.receive()
        if not data:
            raise ProbeFailed(f"the server closed the connection before {self._connection.steps.waiting_for}")
        if not self._heard:
            self._heard = _is_http2(data)
        try:
            events = self._talk.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            raise ProbeFailed(f"the answer is broken: {error}") from None
        for event in events:
            self._take(event)
        if not self.over and (answer := self._talk.data_to_send()):
            await self._connection.send(answer, "acknowledged")

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.head = dict(event.headers)
            self._connection.steps.waiting_for = "the end of the answer"
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
            if event.flow_controlled_length and event.stream_ended is None:
                self._talk.acknowledge_received_data(event.flow_controlled_length, STREAM)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers = dict(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.over = True
        elif isinstance(event, h2.events.StreamReset):
            raise ProbeFailed(f"the server gave the request up: {_name(event.error_code)}")
        elif isinstance(event, h2.events.ConnectionTerminated) and not self.over:
            raise ProbeFailed(f"the server is going away: {_name(event.error_code)}")


def _is_http2(data: bytes) -> bool:
    """Raises ProbeFailed when an answer that begins so is not HTTP/2: settings come first (RFC 9113, 3.4)."""
    if data[3:4] not in (b"", b"\x04"):
        raise ProbeFailed(f"the answer is not HTTP/2: {data[:60]!r}")
    return True


def _name(code: int | h2.errors.ErrorCodes | None) -> str:
    return code.name if isinstance(code, h2.errors.ErrorCodes) else f"error {code}"
