"""The loaded program once more, byte for byte, on a copy of what it writes: what would it do with a packet?

What the program only reads (services, slots, backends, lists, the daemon's clocks) is the real thing. What it writes
(flows, accounts, fragments, attempts, counters) is copied, and put back after each run. So the real tables never
change. Loading takes as long as the verifier does, a run some milliseconds; who asks often keeps the shadow.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
from collections.abc import Mapping
from typing import Any

from xdplb.dataplane import layout, syscall
from xdplb.dataplane.instructions import Code
from xdplb.dataplane.loader import Pinned
from xdplb.dataplane.outcome import ACTIONS, LINES, Changed, Outcome
from xdplb.dataplane.syscall import MapShape
from xdplb.errors import ConfigError, KernelError

TALLIES = ("answers", "traffic", "verdicts", "spared")  # written, per CPU
SPACES = {"fragments"}  # written, hashes
WRITTEN = {*LINES, *TALLIES, *SPACES}
FIRST, TAIL = "balancer", "tail"
LEAST_BYTES, MOST_BYTES = 14, 16000  # of a frame: BPF_PROG_TEST_RUN's least, and room for a jumbo frame
MOST_IN_PAGE = 3520  # what is left of a page there; no driver gives more to a program without frags

_libc = ctypes.CDLL(None)
_libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


class Shadow:
    """A program that nobody's packets go through."""

    def __init__(self, pinned: Pinned, code: Code) -> None:
        """Load it beside. Raises KernelError when that is not the program that is pinned."""
        self.pinned, self._code = pinned, code
        self._real: dict[str, int] = {}
        self._own: dict[str, int] = {}
        self._programs: dict[str, int] = {}
        self._arrays: dict[str, _Array] = {}
        try:
            self._open()
        except OSError as error:
            self.close()
            raise KernelError(f"the program could not be loaded once more ({error.strerror}); try again") from None
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        for name, shape in self._code.maps.items():
            if name in self.pinned.maps:
                self._real[name] = syscall.get(self.pinned.folder / name)
            if name in WRITTEN or name not in self.pinned.maps:
                self._own[name] = syscall.create_map(shape, syscall.F_MMAPABLE if name in LINES else 0)
        for name in LINES.keys() & self._own.keys():
            self._arrays[name] = _Array(self._real[name], self._own[name], self._code.maps[name])
        self._values = {name: ctypes.sizeof(layout.build(m["value"])) for name, m in self.pinned.maps.items()}
        self._per_cpu = {name: self._values[name] * syscall.possible_cpus() for name in TALLIES if name in self._own}
        self._before: dict[str, bytes] = {}  # per CPU: what the copy holds between runs
        self._hashes: dict[str, dict[bytes, bytes]] = {name: {} for name in SPACES & self._own.keys()}
        self._program = self._load(FIRST)
        self._test = syscall.TestRun(self._program, MOST_BYTES)
        if self._tag_of_pinned() != syscall.program(self._program).tag:
            raise KernelError(f"{self.pinned.program} is another program than its file says; restart the daemon")

    def _tag_of_pinned(self) -> bytes:
        fd = syscall.get(self.pinned.program)
        try:
            return syscall.program(fd).tag
        finally:
            os.close(fd)

    def _load(self, name: str) -> int:
        fds = self._real | self._own
        fd = syscall.load(self._code.functions[name].with_maps(fds), name, "xdp", self._code.frags)
        self._programs[name] = fd
        return fd

    def close(self) -> None:
        """Give everything back."""
        for array in self._arrays.values():
            array.close()
        for fd in (*self._programs.values(), *self._real.values(), *self._own.values()):
            os.close(fd)
        self._arrays, self._programs, self._real, self._own = {}, {}, {}, {}

    # --- the copy -------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Make the copy equal to what the real tables hold now."""
        for array in self._arrays.values():
            array.follow()
        for name, known in self._hashes.items():
            self._write_hash(name, known, syscall.lookup_hash(self._real[name], self._code.maps[name]))
        for name, size in self._per_cpu.items():
            entries = self._code.maps[name].entries
            if name in ("verdicts", "spared"):
                now = bytes(size)
            else:
                now = bytes(syscall.lookup_array(self._real[name], entries, size))
            if self._before.get(name) != now:
                syscall.update_array(self._own[name], now, size)
                self._before[name] = now

    @property
    def fragments(self) -> Mapping[bytes, bytes]:
        """What is remembered of fragmented packets (`struct datagram` to ports), as it was copied last."""
        return self._hashes.get("fragments", {})

    def _write_hash(self, name: str, have: dict[bytes, bytes], wanted: Mapping[bytes, bytes]) -> None:
        for key in have.keys() - wanted.keys():
            with contextlib.suppress(FileNotFoundError):  # an LRU hash forgets by itself
                syscall.delete(self._own[name], key)
        for key, value in wanted.items():
            if have.get(key) != value:
                syscall.update(self._own[name], key, value)
        self._hashes[name] = dict(wanted)

    # --- a run ----------------------------------------------------------------------------------------------

    def run(self, frame: bytes, ifindex: int) -> Outcome:
        """Run the program on a frame that came in by an interface. Raises ConfigError, KernelError."""
        most = MOST_BYTES if self._code.frags else MOST_IN_PAGE
        if not LEAST_BYTES <= len(frame) <= most:
            fix = f"give {LEAST_BYTES} to {most}, from the Ethernet header on, which is what the loaded program takes"
            raise ConfigError("frame", f"has {len(frame)} bytes", fix)
        outcome = self._run(frame, ifindex)
        if outcome.reason == "passed_protocol" and TAIL in self._own and len(self._programs) == 1:
            # So ends a packet that is for the other program, when that is not there. Few are, so it is loaded late.
            other = next(name for name in self._code.functions if name != FIRST)
            syscall.update(self._own[TAIL], bytes(4), self._load(other).to_bytes(4, "little"))
            outcome = self._run(frame, ifindex)
        return outcome

    def _run(self, frame: bytes, ifindex: int) -> Outcome:
        try:
            action, left = self._test.run_from(frame, ifindex)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise ConfigError("in", f"there is no interface number {ifindex}", "give one of this host's") from None
            raise KernelError(f"the kernel did not run a frame of {len(frame)} bytes ({error.strerror})") from None
        counted = {name: self._counted(name) for name in self._per_cpu}
        changes = self._put_back(counted)
        reasons = _names(self.pinned, "verdicts", counted["verdicts"])
        index = next((int(change.key) for change in counted["traffic"]), None)
        spared = tuple(_names(self.pinned, "spared", counted.get("spared", ())))
        changes |= {"answers": counted["answers"]} if counted.get("answers") else {}
        return Outcome(ACTIONS[action], left, next(iter(reasons), None), index, spared, changes)

    def _counted(self, name: str) -> tuple[Changed, ...]:
        """Return the elements of a per-CPU array that the run changed."""
        size, before = self._per_cpu[name], self._before[name]
        after = bytes(syscall.lookup_array(self._own[name], len(before) // size, size))
        if after == before:
            return ()
        places = [n for n in range(0, len(before), size) if before[n : n + size] != after[n : n + size]]
        return tuple(Changed(n // size, before[n : n + size], after[n : n + size]) for n in places)

    def _put_back(self, counted: Mapping[str, tuple[Changed, ...]]) -> dict[str, tuple[Changed, ...]]:
        """Undo what the run did to the copy; return it."""
        found = {name: array.put_back() for name, array in self._arrays.items()}
        for name, before in self._hashes.items():
            after = syscall.lookup_hash(self._own[name], self._code.maps[name])
            if after != before:
                keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
                found[name] = tuple(Changed(key, before.get(key, b""), after.get(key, b"")) for key in keys)
                self._write_hash(name, after, before)
        for name, counts in counted.items():
            for change in counts:
                syscall.update(self._own[name], int(change.key).to_bytes(4, "little"), change.before)
        return {name: changes for name, changes in found.items() if changes}


class _Array:
    """A real table in memory, the program's copy of it, and what the copy was before a run."""

    def __init__(self, real: int, own: int, shape: MapShape) -> None:
        self._bytes, self._line = shape.value_bytes * shape.entries, shape.value_bytes
        size = -(-self._bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._real, self._own = mmap.mmap(real, size), mmap.mmap(own, size)
        self._kept = bytearray(size)
        room = ctypes.c_char * size
        self._views: list[Any] = [room.from_buffer(buffer) for buffer in (self._real, self._own, self._kept)]
        self._at = [ctypes.addressof(view) for view in self._views]

    def follow(self) -> None:
        """Copy what differs from the real table."""
        real, own, kept = self._at
        if _libc.memcmp(real, kept, self._bytes):
            ctypes.memmove(kept, real, self._bytes)  # once: the table goes on changing
            ctypes.memmove(own, kept, self._bytes)

    def put_back(self) -> tuple[Changed, ...]:
        """Undo what was written to the copy; return it."""
        found = []
        for at in self._differing(0, self._bytes // self._line):
            begin, end = at * self._line, (at + 1) * self._line
            before, after = bytes(self._kept[begin:end]), bytes(self._own[begin:end])
            self._own[begin:end] = before
            found.append(Changed(at, before, after))
        return tuple(found)

    def _differing(self, first: int, count: int) -> list[int]:
        """Return which lines are others, by halves: nearly always there is one, or none."""
        _, own, kept = self._at
        begin, size = first * self._line, count * self._line
        if not _libc.memcmp(own + begin, kept + begin, size):
            return []
        if count == 1:
            return [first]
        half = count // 2
        return self._differing(first, half) + self._differing(first + half, count - half)

    def close(self) -> None:
        self._views.clear()
        self._real.close()
        self._own.close()


def _names(pinned: Pinned, table: str, changes: Any) -> list[str]:
    """Return which counters of a struct grew."""
    names = [name for name, _ in pinned.maps[table]["value"]["fields"]]
    return [names[number % len(names)] for change in changes for number, _, _ in change.words]
