"""bpf(2) through ctypes: the calls that BCC lacks, and all that a reader of pinned objects needs.

Nothing is decided here. Sources: bpf(2), include/uapi/linux/bpf.h (`union bpf_attr`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAP_CREATE, MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM, MAP_GET_NEXT_KEY = 0, 1, 2, 3, 4
PROG_LOAD, OBJ_PIN, OBJ_GET, PROG_TEST_RUN = 5, 6, 7, 10
PROG_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD, MAP_LOOKUP_BATCH, MAP_UPDATE_BATCH = 13, 15, 24, 26
LINK_CREATE, LINK_UPDATE, LINK_GET_FD_BY_ID, LINK_GET_NEXT_ID, ENABLE_STATS, LINK_DETACH = 28, 29, 30, 31, 32, 34
F_REPLACE, F_TEST_XDP_LIVE_FRAMES, F_XDP_HAS_FRAGS = 1 << 2, 1 << 1, 1 << 5
F_MMAPABLE = 1 << 10
ATTACH_TYPE_XDP, LINK_TYPE_XDP = 37, 6
PROGRAM_TYPES = {"tc": 3, "xdp": 6}  # enum bpf_prog_type: SCHED_CLS, XDP
XDP_FLAGS = {"generic": 1 << 1, "native": 1 << 2, "offload": 1 << 3}  # include/uapi/linux/if_link.h

_LICENSE = b"Dual BSD/GPL"
_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_libc = ctypes.CDLL(None, use_errno=True)


def _fields(**types: str) -> list[tuple[str, type[ctypes._SimpleCData[int]]]]:
    sizes = {"Q": ctypes.c_uint64, "I": ctypes.c_uint32}
    return [(name, sizes[letter]) for letter, names in types.items() for name in names.split()]


class _Element(ctypes.Structure):
    _fields_ = [("map_fd", ctypes.c_uint32), *_fields(Q="key value flags")]


class _Create(ctypes.Structure):
    _fields_ = [*_fields(I="map_type key_size value_size max_entries map_flags inner_map_fd numa_node")]


class _Batch(ctypes.Structure):
    _fields_ = [
        *_fields(Q="in_batch out_batch keys values"),
        *_fields(I="count map_fd", Q="elem_flags flags"),
    ]


class _Object(ctypes.Structure):
    _fields_ = [*_fields(Q="pathname", I="bpf_fd file_flags")]


class _Info(ctypes.Structure):
    _fields_ = [*_fields(I="bpf_fd info_len", Q="info")]


class _Id(ctypes.Structure):
    _fields_ = [*_fields(I="start_id next_id open_flags")]


class _Test(ctypes.Structure):
    _fields_ = [
        *_fields(I="prog_fd retval data_size_in data_size_out"),
        *_fields(Q="data_in data_out"),
        *_fields(I="repeat duration ctx_size_in ctx_size_out"),
        *_fields(Q="ctx_in ctx_out"),
        *_fields(I="flags cpu batch_size padding"),
    ]


class _LinkCreate(ctypes.Structure):
    _fields_ = [*_fields(I="prog_fd target_ifindex attach_type flags"), ("reserved", ctypes.c_uint64 * 6)]


class _LinkUpdate(ctypes.Structure):
    _fields_ = [*_fields(I="link_fd new_prog_fd flags old_prog_fd")]


class _ProgLoad(ctypes.Structure):
    _fields_ = [
        *_fields(I="prog_type insn_cnt", Q="insns license"),
        *((name, ctypes.c_uint32) for name in ("log_level", "log_size")),
        ("log_buf", ctypes.c_uint64),
        *_fields(I="kern_version prog_flags"),
        ("prog_name", ctypes.c_char * 16),
        *((name, ctypes.c_uint32) for name in ("prog_ifindex", "expected_attach_type")),
    ]


def _bpf(command: int, attr: ctypes.Structure) -> int:
    number = _NUMBER.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) has no known number on {os.uname().machine}")
    result: int = _libc.syscall(number, command, ctypes.byref(attr), ctypes.sizeof(attr))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


# --- pins ---------------------------------------------------------------------------------------------------


def pin(fd: int, path: Path) -> None:
    """Pin an object at `path`, replacing what is there: pinned beside it, then renamed over it."""
    beside = path.with_name(path.name + "_new")  # bpffs allows no dots in names
    beside.unlink(missing_ok=True)
    name = ctypes.create_string_buffer(os.fsencode(beside))
    _bpf(OBJ_PIN, _Object(ctypes.addressof(name), fd, 0))
    os.rename(beside, path)


def get(path: Path) -> int:
    """Return a new fd of the object pinned at `path`; FileNotFoundError when there is none."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(OBJ_GET, _Object(ctypes.addressof(name), 0, 0))


# --- what an object is --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MapShape:
    """What the kernel says of a map; sizes in bytes."""

    type: int
    key_bytes: int
    value_bytes: int
    entries: int


@dataclass(frozen=True, slots=True)
class Program:
    """What the kernel says of a program. `instructions` are after the verifier's rewriting, 8 bytes each.

    `tag` is the kernel's digest of them as they were loaded, whatever descriptors its maps had. `machine_bytes` is what
    the JIT made of them, 0 when the kernel does not tell; `verified`, how many the verifier had to look at (0 before
    Linux 5.16). `run_ns` and `runs` grow only while somebody holds `enable_stats`.
    """

    id: int
    name: str
    instructions: bytes
    machine_bytes: int
    run_ns: int
    runs: int
    verified: int
    tag: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """What the kernel says of a `bpf_link` of XDP. `ifindex` 0: its interface has vanished."""

    id: int
    program_id: int
    ifindex: int


def _describe(fd: int, size: int) -> bytes:
    buffer = ctypes.create_string_buffer(size)
    _bpf(OBJ_GET_INFO_BY_FD, _Info(fd, size, ctypes.addressof(buffer)))
    return buffer.raw


def _u32(raw: bytes, offset: int) -> int:
    return int.from_bytes(raw[offset : offset + 4], "little")


def _u64(raw: bytes, offset: int) -> int:
    return int.from_bytes(raw[offset : offset + 8], "little")


def enable_stats() -> int:
    """Have the kernel time every program as long as the returned fd is open (costs some 20 ns a run)."""
    return _bpf(ENABLE_STATS, _Id(0, 0, 0))


def map_shape(fd: int) -> MapShape:
    """`struct bpf_map_info` of a map."""
    raw = _describe(fd, 80)
    return MapShape(_u32(raw, 0), _u32(raw, 8), _u32(raw, 12), _u32(raw, 16))


def create_map(shape: MapShape, flags: int = 0) -> int:
    """Make a map, which nobody else knows of; returns its fd."""
    return _bpf(MAP_CREATE, _Create(shape.type, shape.key_bytes, shape.value_bytes, shape.entries, flags))


def map_id(fd: int) -> int:
    """Return the number that the kernel gave a map: two descriptors with the same one are of the same map."""
    return _u32(_describe(fd, 8), 4)


def program(fd: int) -> Program:
    """`struct bpf_prog_info` of a program: id, name, and its instructions as the verifier left them."""
    size = 232
    count = _u32(_describe(fd, size), 20)
    code = ctypes.create_string_buffer(max(count, 1))
    buffer = ctypes.create_string_buffer(size)
    ctypes.c_uint32.from_buffer(buffer, 20).value = count
    ctypes.c_uint64.from_buffer(buffer, 32).value = ctypes.addressof(code)
    _bpf(OBJ_GET_INFO_BY_FD, _Info(fd, size, ctypes.addressof(buffer)))
    raw = buffer.raw
    name, run_ns, runs = raw[64:80].split(b"\0")[0].decode(), _u64(raw, 192), _u64(raw, 200)
    return Program(_u32(raw, 4), name, code.raw[:count], _u32(raw, 16), run_ns, runs, _u32(raw, 216), raw[8:16])


def open_program(number: int) -> int:
    """A new fd of the program with this id; OSError(ENOENT) when it is gone."""
    return _bpf(PROG_GET_FD_BY_ID, _Id(number, 0, 0))


def program_by_id(number: int) -> Program:
    """The program with this id; OSError(ENOENT) when it is gone."""
    fd = open_program(number)
    try:
        return program(fd)
    finally:
        os.close(fd)


def link(fd: int) -> Link:
    """`struct bpf_link_info` of an XDP link."""
    raw = _describe(fd, 32)
    return Link(_u32(raw, 4), _u32(raw, 8), _u32(raw, 16))


def xdp_links() -> Iterator[tuple[int, Link]]:
    """Yield (fd, link) of every XDP link in the kernel; the fd is closed after its turn."""
    attr = _Id(0, 0, 0)
    while True:
        try:
            _bpf(LINK_GET_NEXT_ID, attr)
        except FileNotFoundError:
            return
        attr.start_id = attr.next_id
        try:
            fd = _bpf(LINK_GET_FD_BY_ID, _Id(attr.next_id, 0, 0))
        except FileNotFoundError:
            continue
        try:
            if _u32(_describe(fd, 32), 0) == LINK_TYPE_XDP:
                yield fd, link(fd)
        finally:
            os.close(fd)


# --- links --------------------------------------------------------------------------------------------------


def link_create(program_fd: int, ifindex: int, mode: str) -> int:
    """Attach a program to an interface of this thread's namespace by a new link; returns the link's fd."""
    return _bpf(LINK_CREATE, _LinkCreate(program_fd, ifindex, ATTACH_TYPE_XDP, XDP_FLAGS[mode]))


def link_update(link_fd: int, program_fd: int, old_program_fd: int | None = None) -> None:
    """Replace a link's program atomically; with `old_program_fd` only if that one is attached (EPERM)."""
    flags = 0 if old_program_fd is None else F_REPLACE
    _bpf(LINK_UPDATE, _LinkUpdate(link_fd, program_fd, flags, old_program_fd or 0))


def link_detach(link_fd: int) -> None:
    """Detach a link's program, whoever else holds the link."""
    _bpf(LINK_DETACH, _Id(link_fd, 0, 0))


# --- map elements -------------------------------------------------------------------------------------------


def lookup(fd: int, key: bytes, value_bytes: int) -> bytes:
    """One value; KeyError when there is none. A per-CPU map wants room for all possible CPUs."""
    value, k = ctypes.create_string_buffer(value_bytes), ctypes.create_string_buffer(key, len(key))
    try:
        _bpf(MAP_LOOKUP_ELEM, _Element(fd, ctypes.addressof(k), ctypes.addressof(value), 0))
    except FileNotFoundError:
        raise KeyError(key) from None
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Write one value."""
    v, k = ctypes.create_string_buffer(value, len(value)), ctypes.create_string_buffer(key, len(key))
    _bpf(MAP_UPDATE_ELEM, _Element(fd, ctypes.addressof(k), ctypes.addressof(v), 0))


def delete(fd: int, key: bytes) -> None:
    """Delete one element of a hash."""
    k = ctypes.create_string_buffer(key, len(key))
    _bpf(MAP_DELETE_ELEM, _Element(fd, ctypes.addressof(k), 0, 0))


def keys(fd: int, key_bytes: int, most: int | None = None) -> list[bytes]:
    """All keys of a map, or so many of them."""
    found: list[bytes] = []
    k, following = None, ctypes.create_string_buffer(key_bytes)
    while most is None or len(found) < most:
        try:
            _bpf(
                MAP_GET_NEXT_KEY,
                _Element(fd, ctypes.addressof(k) if k else 0, ctypes.addressof(following), 0),
            )
        except FileNotFoundError:
            return found
        found.append(following.raw)
        k = ctypes.create_string_buffer(following.raw, key_bytes)
    return found


def lookup_array(fd: int, entries: int, value_bytes: int) -> bytearray:
    """The first `entries` values of an array, joined, by one batch call (kernel 5.13 for per-CPU arrays)."""
    values, numbers = bytearray(entries * value_bytes), (ctypes.c_uint32 * entries)()
    if not entries:
        return values
    out = ctypes.c_uint32()
    room = (ctypes.c_char * len(values)).from_buffer(values)
    attr = _Batch(out_batch=ctypes.addressof(out), keys=ctypes.addressof(numbers), count=entries, map_fd=fd)
    attr.values = ctypes.addressof(room)
    with contextlib.suppress(FileNotFoundError):  # the array ended with this batch
        _bpf(MAP_LOOKUP_BATCH, attr)
    del room
    return values


def update_array(fd: int, values: bytes, value_bytes: int) -> None:
    """Write the first values of an array, joined as `lookup_array` returns them, by one call."""
    entries = len(values) // value_bytes
    numbers, room = (ctypes.c_uint32 * entries)(*range(entries)), ctypes.create_string_buffer(values, len(values))
    attr = _Batch(keys=ctypes.addressof(numbers), values=ctypes.addressof(room), count=entries, map_fd=fd)
    _bpf(MAP_UPDATE_BATCH, attr)


def lookup_hash(fd: int, shape: MapShape) -> dict[bytes, bytes]:
    """All of a hash, by one call that does not count as a use of its elements (5.6)."""
    key, value = shape.key_bytes, shape.value_bytes
    keys = ctypes.create_string_buffer(shape.entries * key)
    values, out = ctypes.create_string_buffer(shape.entries * value), ctypes.c_uint32()
    attr = _Batch(keys=ctypes.addressof(keys), values=ctypes.addressof(values), count=shape.entries, map_fd=fd)
    attr.out_batch = ctypes.addressof(out)
    with contextlib.suppress(FileNotFoundError):  # the hash ended with this batch
        _bpf(MAP_LOOKUP_BATCH, attr)
    names = ctypes.string_at(keys, attr.count * key)  # not `.raw`, which copies all the room that there is
    contents = ctypes.string_at(values, attr.count * value)
    return {names[n * key : (n + 1) * key]: contents[n * value : (n + 1) * value] for n in range(attr.count)}


def possible_cpus() -> int:
    """How many values a per-CPU element has (/sys/devices/system/cpu/possible, as `0-3,8`)."""
    count = 0
    for part in Path("/sys/devices/system/cpu/possible").read_text().strip().split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


# --- programs -----------------------------------------------------------------------------------------------


def _prog_load(instructions: bytes, name: str, kind: str, frags: bool, log: ctypes.Array[ctypes.c_char] | None) -> int:
    code, text = ctypes.create_string_buffer(instructions, len(instructions)), ctypes.create_string_buffer(_LICENSE)
    attr = _ProgLoad(PROGRAM_TYPES[kind], len(instructions) // 8)
    attr.insns, attr.license = ctypes.addressof(code), ctypes.addressof(text)
    attr.prog_flags, attr.prog_name = F_XDP_HAS_FRAGS if frags else 0, name[:15].encode()
    attr.expected_attach_type = ATTACH_TYPE_XDP if frags else 0
    if log is not None:
        attr.log_level, attr.log_size, attr.log_buf = 1, len(log), ctypes.addressof(log)
    return _bpf(PROG_LOAD, attr)


def load(instructions: bytes, name: str, kind: str, frags: bool = False) -> int:
    """Load raw instructions as a program of a kind, `PROGRAM_TYPES`; returns its fd.

    `frags`: an XDP program that takes frames of several buffers (5.18).
    """
    return _prog_load(instructions, name, kind, frags, None)


def load_xdp(instructions: bytes, name: str = "", frags: bool = False) -> int:
    """Load raw instructions as an XDP program."""
    return load(instructions, name, "xdp", frags)


def verifier_log(instructions: bytes, name: str, kind: str, frags: bool) -> str:
    """What the verifier says about a program, refused or not."""
    log = ctypes.create_string_buffer(1 << 24)
    try:
        os.close(_prog_load(instructions, name, kind, frags, log))
    except OSError as error:
        return f"{log.value.decode(errors='replace')}{error}"
    return log.value.decode(errors="replace")


def test_run(fd: int, frame: bytes, repeat: int = 1, context: bytes = b"") -> tuple[int, bytes, int]:
    """Run a program on a frame; returns (action, the frame afterwards, ns per run).

    The frame is not restored between repeats. The kernel wants at least 14 bytes. `context`: the begin of what the
    program is called with (`struct __sk_buff`).
    """
    data, out = ctypes.create_string_buffer(frame, len(frame)), ctypes.create_string_buffer(len(frame) + 256)
    attr = _Test(prog_fd=fd, data_size_in=len(frame), data_size_out=len(out), repeat=repeat)
    attr.data_in, attr.data_out = ctypes.addressof(data), ctypes.addressof(out)
    begin = ctypes.create_string_buffer(context, max(1, len(context)))
    if context:
        attr.ctx_in, attr.ctx_size_in = ctypes.addressof(begin), len(context)
    _bpf(PROG_TEST_RUN, attr)
    return attr.retval, out.raw[: attr.data_size_out], attr.duration


class TestRun:
    """Runs of one XDP program on many frames, without an allocation for each: some 4 us a frame."""

    __test__ = False  # not for pytest

    def __init__(self, fd: int, longest: int = 16384) -> None:
        """`longest`: bytes that a frame has at the most, before and after."""
        self._in, self._out = bytearray(longest), bytearray(longest)
        room = ctypes.c_char * longest
        self._attr = _Test(prog_fd=fd, repeat=1)
        self._attr.data_in = ctypes.addressof(room.from_buffer(self._in))
        self._attr.data_out = ctypes.addressof(room.from_buffer(self._out))
        self._context = (ctypes.c_uint32 * 6)()  # struct xdp_md: data, data_end, ...
        self._words = memoryview(self._attr).cast("B")[:16].cast("I")  # prog_fd, retval, data_size_in, data_size_out
        self._left, self._longest = memoryview(self._out), longest
        call = _libc.syscall
        number, command = ctypes.c_long(_NUMBER[os.uname().machine]), ctypes.c_long(PROG_TEST_RUN)
        at, size = ctypes.c_void_p(ctypes.addressof(self._attr)), ctypes.c_long(ctypes.sizeof(_Test))
        self._call: Callable[[], int] = lambda: call(number, command, at, size)

    def run_in_buffers(self, frame: bytes, first: int) -> tuple[int, bytes]:
        """As `run`, of a program with frags: so many bytes of the frame are in its first buffer (Linux 6.18)."""
        self._context[1] = first
        self._attr.ctx_in, self._attr.ctx_size_in = ctypes.addressof(self._context), ctypes.sizeof(self._context)
        try:
            return self.run(frame)
        finally:
            self._attr.ctx_in = self._attr.ctx_size_in = 0

    def run_from(self, frame: bytes, ifindex: int) -> tuple[int, bytes]:
        """As `run`, of a frame that came in by an interface of this thread's namespace."""
        self._context[3] = ifindex
        try:
            return self.run_in_buffers(frame, len(frame))
        finally:
            self._context[3] = 0

    def run(self, frame: bytes) -> tuple[int, bytes]:
        """Return the action and the frame afterwards. The kernel wants at least 14 bytes. Raises OSError."""
        words, size = self._words, len(frame)
        self._in[:size] = frame
        words[2], words[3] = size, self._longest
        if self._call() < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return words[1], bytes(self._left[: words[3]])
