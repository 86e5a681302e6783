"""The maps by which a program traces (bpf/trace_maps.h): filters go in, records come out. Nothing is decided here."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

from xdplb.contract import CONSTANTS
from xdplb.dataplane import layout, syscall
from xdplb.dataplane.kernel import Kernel
from xdplb.dataplane.ringbuf import RingBuffer
from xdplb.hashing import mask_words, port_word, words
from xdplb.traced import Filter, Record

HEAD, TRACERS = CONSTANTS["TRACE_HEAD"], CONSTANTS["TRACERS"]
CHANCES = 1 << 32


class TraceMaps:
    """Those of one program that was compiled with `trace`."""

    def __init__(self, kernel: Kernel) -> None:
        """Open them."""
        pinned = kernel.pinned
        self._filters = syscall.get(pinned.own_pin("trace_filters"))
        self._filter: Any = layout.build(pinned.own["trace_filters"]["value"])
        self._record: Any = layout.build(pinned.own["trace_notes"]["value"])
        self.ring = RingBuffer(syscall.get(pinned.own_pin("trace_ring")))

    def put_filter(self, number: int, asked: Filter, until_ns: int) -> None:
        """Trace for one tracer until a moment of CLOCK_MONOTONIC; what it lost so far is forgotten."""
        leaf = self._filter()
        for words_of in (_put_network, _put_numbers):
            words_of(leaf, asked)
        leaf.chance = CHANCES // asked.sample
        self._write(number, leaf)  # whole, before the first packet is held against it
        leaf.until = until_ns
        self._write(number, leaf)

    def clear_filter(self, number: int) -> None:
        """Trace nothing for a tracer any more."""
        self._write(number, self._filter())

    def _write(self, number: int, leaf: Any) -> None:
        syscall.update(self._filters, number.to_bytes(4, "little"), bytes(leaf))

    def lost(self, number: int) -> int:
        """Return how many records of a tracer found no room."""
        raw = syscall.lookup(self._filters, number.to_bytes(4, "little"), ctypes.sizeof(self._filter))
        return int(self._filter.from_buffer_copy(raw).lost)

    def read(self, most: int) -> list[Record]:
        """Return up to so many records."""
        return [self._read(raw) for raw in self.ring.read(most)]

    def _read(self, raw: bytes) -> Record:
        size = ctypes.sizeof(self._record)
        leaf = self._record.from_buffer_copy(raw if len(raw) >= size else raw + bytes(size - len(raw)))
        return Record(
            leaf.time,
            leaf.tracers,
            leaf.ingress,
            leaf.bytes,
            leaf.bytes_out,
            leaf.key.service,
            leaf.key.backend,
            leaf.slot,
            leaf.slot_state,
            leaf.chosen,
            leaf.action,
            leaf.key.reason,
            bytes(leaf.arrived[: min(leaf.bytes, HEAD)]),
            bytes(leaf.leaving[: min(leaf.bytes_out, HEAD)]),
        )

    def close(self) -> None:
        """Give the descriptors back."""
        self.ring.close()
        os.close(self._filters)


def _put_network(leaf: Any, asked: Filter) -> None:
    for name, network in (("source", asked.source), ("destination", asked.destination)):
        if network is not None:
            mask, wanted = getattr(leaf.mask, name), getattr(leaf.wanted, name)
            mask.high, mask.low = mask_words(network.version, network.prefixlen)
            high, low = words(network.network_address)
            wanted.high, wanted.low = high & mask.high, low & mask.low


def _put_numbers(leaf: Any, asked: Filter) -> None:
    for name in ("service", "backend", "reason"):
        if (number := getattr(asked, name)) is not None:
            setattr(leaf.mask, name, (1 << 64) - 1)
            setattr(leaf.wanted, name, number)
    if asked.port is not None:  # the upper half: the lower one is the source's
        leaf.mask.ports, leaf.wanted.ports = 0xFFFF0000, port_word(asked.port) << 16


def monotonic_ns() -> int:
    """Return the time by the records' clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def realtime_ns() -> int:
    """Return the time of day, in ns since 1970."""
    return time.time_ns()
