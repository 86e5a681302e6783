"""The raw socket of all ICMP echoes of one family, and who waits for which answer.

A raw socket gets a copy of every ICMP message of the machine: with one for each probe, a thousand probes would each
read the thousand answers of the others. So there is one for all, for as long as anybody waits, and a filter in the
kernel lets through only answers with our id, and what routers say. A probe's mark goes along with each message
(cmsg(3), SO_MARK). Eight bytes of header are no reason for a library.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import errno
import secrets
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from xdplb.health.datagrams import keep_whole
from xdplb.health.probe import Target
from xdplb.health.sockets import open_socket

HEADER = struct.Struct("!BBHHH")  # type, code, checksum, id, sequence (RFC 792, RFC 4443)
TOKEN_BYTES = 8  # begin the payload: an answer is ours only with them

# include/uapi/asm-generic/socket.h, linux/icmp.h, linux/icmpv6.h, linux/filter.h: what Python does not name
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 32, 33, 26
_SOL_RAW, _ICMP_FILTER, _ICMPV6_FILTER = 255, 1, 1

# The kernel counts what waits for neighbours that do not answer to the sender: thousands of dead backends must not
# keep the living from being asked. These are limits; nothing of them is taken beforehand.
_SEND_BYTES, _RECEIVE_BYTES = 1 << 28, 1 << 23
_READS = 64  # before others in the event loop have their turn


@dataclass(frozen=True, slots=True)
class Family:
    """What ICMP of one IP version calls things."""

    protocol: int
    request: int
    reply: int
    errors: tuple[int, ...]


FAMILIES = {
    4: Family(socket.IPPROTO_ICMP, 8, 0, (3, 11)),  # destination unreachable, time exceeded
    6: Family(socket.IPPROTO_ICMPV6, 128, 129, (1, 2, 3)),  # the same, and between them packet too big
}


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody on the way said instead of an answer; `mtu` 0: nothing of an MTU."""

    source: str
    type: int
    code: int
    mtu: int = 0


@dataclass(slots=True)
class _Waiting:
    address: bytes
    payload: bytes
    answer: asyncio.Future[Told | None]


class Echoes:
    """One family's socket in one event loop."""

    def __init__(self, target: Target) -> None:
        """Open it; of the target only its family counts. Raises OSError."""
        self.version = target.address.version
        self.family = FAMILIES[self.version]
        self.users = 0
        self._id, self._next = secrets.randbelow(1 << 16), secrets.randbelow(1 << 16)
        self._waiting: dict[int, _Waiting] = {}
        self._buffer = bytearray(65536)
        self._open = contextlib.ExitStack()
        everybody = Target(target.address, 0)
        self._socket = self._open.enter_context(open_socket(everybody, socket.SOCK_RAW, self.family.protocol))
        with self._closed_on_error():
            self._prepare()
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """Close the socket."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._open.close()

    async def echo(self, target: Target, size: int) -> Told | None:
        """Send a message of `size` bytes of ICMP; return when its answer is here, or what was said instead.

        Raises OSError, also when 65536 others are under way.
        """
        sequence = self._free_sequence()
        payload = secrets.token_bytes(TOKEN_BYTES) + bytes(max(size - HEADER.size - TOKEN_BYTES, 0))
        answer: asyncio.Future[Told | None] = asyncio.get_running_loop().create_future()
        self._waiting[sequence] = _Waiting(target.address.packed, payload, answer)
        try:
            mark = [(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("I", target.mark))] if target.mark else []
            self._socket.sendmsg([self._message(sequence, payload)], mark, 0, (str(target.address), 0))
            return await answer
        finally:
            del self._waiting[sequence]

    def _free_sequence(self) -> int:
        for _ in range(1 << 16):
            self._next = (self._next + 1) % (1 << 16)
            if self._next not in self._waiting:
                return self._next
        raise OSError(errno.ENOBUFS, "65536 other echoes are under way")

    def _message(self, sequence: int, payload: bytes) -> bytes:
        """Return a request; the kernel fills in the checksum of ICMPv6 (RFC 3542, 3.1)."""
        first, kind = payload[:TOKEN_BYTES], self.family.request
        summed = 0 if self.version == 6 else checksum(HEADER.pack(kind, 0, 0, self._id, sequence) + first)
        return HEADER.pack(kind, 0, summed, self._id, sequence) + payload  # the rest is zeros, and adds nothing

    def _prepare(self) -> None:
        keep_whole(self._socket)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
        wanted = (self.family.reply, *self.family.errors)
        if self.version == 4:
            refused = 0xFFFFFFFF & ~sum(1 << kind for kind in wanted)
            self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("I", refused))
        else:
            words = [0xFFFFFFFF] * 8
            for kind in wanted:
                words[kind >> 5] &= ~(1 << (kind & 31))
            self._socket.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("8I", *words))
        attach_filter(self._socket, self._answers_of_ours())

    def _answers_of_ours(self) -> bytes:
        """Return a filter (classic BPF): let through errors, and of answers those with our id.

        The kernel shows an IPv4 socket the IP header, too, so X is its length; an IPv6 one sees ICMP only.
        """
        instructions = [
            (0xB1, 0, 0, 0) if self.version == 4 else (0x01, 0, 0, 0),  # X = 4 * (packet[0] & 15), or 0
            (0x50, 0, 0, 0),  # A = type
            (0x15, 0, 2, self.family.reply),  # no answer: let it through
            (0x48, 0, 0, 4),  # A = id
            (0x15, 0, 1, self._id),
            (0x06, 0, 0, 0xFFFFFFFF),  # all of it
            (0x06, 0, 0, 0),  # nothing
        ]
        return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)

    def _read(self) -> None:
        """Take what has come, and wake whom it is for."""
        for _ in range(_READS):
            try:
                size, source = self._socket.recvfrom_into(self._buffer)
            except OSError:  # nothing more; what concerns one target comes as a message of ICMP
                return
            packet = memoryview(self._buffer)[:size]
            start = 4 * (packet[0] & 15) if self.version == 4 and size else 0
            self._take(packet[start:], source[0].partition("%")[0])

    def _take(self, message: memoryview, source: str) -> None:
        if len(message) < HEADER.size:
            return
        kind, code, _, _, sequence = HEADER.unpack_from(message)
        if kind in self.family.errors:
            self._take_error(message, Told(source, kind, code))
            return
        waiting = self._waiting.get(sequence)
        ours = waiting and waiting.address == socket.inet_pton(self._socket.family, source)
        if waiting and ours and message[HEADER.size :] == waiting.payload and not waiting.answer.done():
            waiting.answer.set_result(None)

    def _take_error(self, message: memoryview, told: Told) -> None:
        """An error quotes the message that it is about, behind its IP header (RFC 792; RFC 4443, 3.1)."""
        quoted = message[HEADER.size :]
        start = (4 * (quoted[0] & 15) if quoted else 0) if self.version == 4 else 40
        if len(quoted) < max(start, 20) + HEADER.size:
            return
        protocol, address = (quoted[9], quoted[16:20]) if self.version == 4 else (quoted[6], quoted[24:40])
        kind, _, _, number, sequence = HEADER.unpack_from(quoted, start)
        waiting = self._waiting.get(sequence)
        if (protocol, kind, number) != (self.family.protocol, self.family.request, self._id) or waiting is None:
            return
        if address == waiting.address and not waiting.answer.done():
            waiting.answer.set_result(Told(told.source, told.type, told.code, self._mtu(message)))

    def _mtu(self, message: memoryview) -> int:
        """Return the MTU that an error tells (RFC 1191, 4; RFC 4443, 3.2)."""
        if self.version == 4:
            return int.from_bytes(message[6:8]) if (message[0], message[1]) == (3, 4) else 0
        return int.from_bytes(message[4:8]) if message[0] == 2 else 0

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._open.close()
            raise


_in_use: dict[tuple[asyncio.AbstractEventLoop, int], Echoes] = {}


@contextlib.contextmanager
def shared(target: Target) -> Iterator[Echoes]:
    """Give the socket of the target's family, which is open for as long as anybody uses it. Raises OSError."""
    key = (asyncio.get_running_loop(), target.address.version)
    if key not in _in_use:
        _in_use[key] = Echoes(target)
    echoes = _in_use[key]
    echoes.users += 1
    try:
        yield echoes
    finally:
        echoes.users -= 1
        if not echoes.users:
            del _in_use[key]
            echoes.close()


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    words = array.array("H", data)
    words.byteswap()
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def attach_filter(opened: socket.socket, program: bytes) -> None:
    """Attach a filter of classic BPF (linux/filter.h, struct sock_fprog). Raises OSError."""
    kept = ctypes.create_string_buffer(program, len(program))
    opened.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(kept))
    )
