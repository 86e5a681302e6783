"""Packets as a pcapng file: draft-ietf-opsawg-pcapng, with a comment on each. Pure: it makes bytes.

Little-endian, times in nanoseconds. An interface is described by a block before the first packet that names it.
"""

from __future__ import annotations

SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6  # block types
END_OF_OPTIONS, COMMENT, IF_NAME, IF_RESOLUTION, FLAGS = 0, 1, 2, 9, 2
ETHERNET = 1  # LINKTYPE_ETHERNET
INBOUND, OUTBOUND = 1, 2  # lowest bits of a packet's flags


class Pcapng:
    """A file that grows: each call returns the bytes to be added."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._interfaces: dict[str, int] = {}

    @staticmethod
    def begin() -> bytes:
        """Return what a file begins with: byte order, version 1.0, a length that is not told."""
        return _block(SECTION, _u32(0x1A2B3C4D) + _u16(1) + _u16(0) + b"\xff" * 8)

    def packet(
        self, interface: str, at_ns: int, frame: bytes, length: int, comment: str, outbound: bool = False
    ) -> bytes:
        """Return a packet: `frame` is what was kept of it, `length` how long it was; time in ns since 1970."""
        new = b"" if interface in self._interfaces else self._add(interface)
        number = self._interfaces[interface]
        head = _u32(number) + _u32(at_ns >> 32) + _u32(at_ns & 0xFFFFFFFF) + _u32(len(frame)) + _u32(length)
        flags = _option(FLAGS, _u32(OUTBOUND if outbound else INBOUND))
        text = _option(COMMENT, comment.encode())
        return new + _block(PACKET, head + _padded(frame) + text + flags + _option(END_OF_OPTIONS, b""))

    def _add(self, interface: str) -> bytes:
        self._interfaces[interface] = len(self._interfaces)
        options = _option(IF_NAME, interface.encode()) + _option(IF_RESOLUTION, b"\x09")
        return _block(INTERFACE, _u16(ETHERNET) + _u16(0) + _u32(0) + options + _option(END_OF_OPTIONS, b""))


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "little")


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 4)


def _option(code: int, value: bytes) -> bytes:
    return _u16(code) + _u16(len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    length = _u32(len(body) + 12)  # stands at both ends
    return _u32(kind) + length + body + length
