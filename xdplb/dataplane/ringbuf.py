"""A BPF ring buffer read by mmap: records in the order in which they were written. Nothing is decided here.

How it lies in memory: Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c. A page with the consumer's position,
which is ours to write; a page with the producers'; then the bytes, mapped twice in a row, so that a record over the end
is whole. A record is led by a word of its length and two flags, and takes a multiple of 8 bytes.
"""

from __future__ import annotations

import mmap
import os

from xdplb.dataplane import syscall

BUSY, DISCARDED = 1 << 31, 1 << 30  # flags of a record's length
HEADER_BYTES = 8


class RingBuffer:
    """The only reader of one ring buffer; epoll can wait for its descriptor, which is readable when there is news."""

    def __init__(self, fd: int) -> None:
        """Take over a descriptor of the map."""
        self.fd, self._size = fd, syscall.map_shape(fd).entries
        self._pages = [mmap.mmap(fd, mmap.PAGESIZE)]  # the length may be no more than what may be written
        readable = mmap.PAGESIZE + 2 * self._size
        self._pages.append(mmap.mmap(fd, readable, prot=mmap.PROT_READ, offset=mmap.PAGESIZE))
        self._consumer, self._producer = (memoryview(page)[:8].cast("Q") for page in self._pages)
        self._bytes = memoryview(self._pages[1])[mmap.PAGESIZE :]

    def read(self, most: int) -> list[bytes]:
        """Return up to so many records that are there, and make room."""
        found: list[bytes] = []
        at, end = self._consumer[0], self._producer[0]
        while at < end and len(found) < most:
            place = at % self._size
            length = int.from_bytes(self._bytes[place : place + 4], "little")
            if length & BUSY:  # somebody writes it now; those behind it have to wait
                break
            bytes_ = length & ~DISCARDED
            if not length & DISCARDED:
                found.append(bytes(self._bytes[place + HEADER_BYTES : place + HEADER_BYTES + bytes_]))
            at += -(-(bytes_ + HEADER_BYTES) // 8) * 8
        self._consumer[0] = at
        return found

    @property
    def most(self) -> int:
        """As many records can lie in it at once."""
        return self._size // (2 * HEADER_BYTES)

    def close(self) -> None:
        """Give memory and descriptor back."""
        for view in (self._consumer, self._producer, self._bytes):
            view.release()
        for page in self._pages:
            page.close()
        os.close(self.fd)
