"""The one bcc: compile an entry of `bpf/`, load it, pin it. A program of its own, so that its weight ends with it.

`python -m xdplb.dataplane.compile` takes one JSON request on standard input and prints one JSON answer; what the
compiler and the verifier say goes to standard error, whole. A process with BCC's compiler in it weighs 146 MB, a
daemon without it 30; and BCC changes the working directory while it compiles, which here nobody notices.

BCC compiles and makes the maps; the code that comes out is loaded by our own bpf(2), since BCC cannot ask for frames of
several buffers (BPF_F_XDP_HAS_FRAGS).
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import sys
import sysconfig
from dataclasses import astuple
from pathlib import Path
from typing import Any

from xdplb.dataplane import layout, syscall
from xdplb.dataplane.source import BPF_DIR, join

_PER_CPU_TYPES = {5, 6, 10}  # enum bpf_map_type: PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH
RINGBUF = 27  # BPF_MAP_TYPE_RINGBUF
_LOAD_64, _MAP_FD = 0x18, 1  # BPF_LD | BPF_IMM | BPF_DW, and BPF_PSEUDO_MAP_FD as its source register
TAIL = "tail"  # the map through which one program goes on in another


def compile_and_pin(request: dict[str, Any]) -> dict[str, Any]:
    """Load `function` of `source` with `defines`; pin it at `program`; return {"maps", "own", "code"}.

    `maps` and `own` are descriptions by name. It is an XDP program, or one of the `kind` that is named. With `tail`,
    another function of it, the map of that name leads there, and is pinned at `tail_pin`. Maps with a pin in `pin_dir`
    are adopted, the others created and pinned there. Those that are the program's `own` are always new, and are pinned
    at the paths given; a ring buffer has no description. With `program` null, nothing is loaded and pinned: `code`
    alone is wanted (dataplane/instructions.py reads it).
    Raises ValueError when an adopted map has another shape than the program wants.
    """
    os.environ.setdefault("BCC_KERNEL_SOURCE", str(BPF_DIR / "shim"))
    from bcc import BPF, lib  # after BCC_KERNEL_SOURCE is set: it is read at import

    cflags = [f"-I{path}" for path in ("/usr/include", f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}")]
    cflags += [f'-DPIN_DIR="{request["pin_dir"]}"']
    cflags += [f"-D{name}={value}" for name, value in request["defines"].items()]
    bpf = BPF(text=join(BPF_DIR / request["source"]).encode(), cflags=cflags)
    tables = range(lib.bpf_num_tables(ctypes.c_void_p(bpf.module)))
    maps = dict(_describe_map(bpf, index) for index in tables)
    code = _describe_code(bpf, request, {lib.bpf_table_fd_id(ctypes.c_void_p(bpf.module), n): n for n in tables})
    if request["program"] is None:
        return {"maps": maps, "own": {}, "code": code}
    pins, own = Path(request["pin_dir"]), {}
    for name, path in request.get("own", {}).items():
        own[name] = maps.pop(name)
        syscall.pin(lib.bpf_table_fd(ctypes.c_void_p(bpf.module), name.encode()), Path(path))
    maps = {name: described for name, described in maps.items() if (pins / name).exists()}  # others are the code's own
    if request.get("tail"):
        tail = bpf[TAIL.encode()].map_fd
        syscall.update(tail, bytes(4), _load(bpf, request, request["tail"]).to_bytes(4, "little"))
        syscall.pin(tail, Path(request["tail_pin"]))  # without a pin, the kernel empties it when we end
    syscall.pin(_load(bpf, request, request["function"]), Path(request["program"]))
    return {"maps": maps, "own": own, "code": code}


def _describe_code(bpf: Any, request: dict[str, Any], numbers: dict[int, int]) -> dict[str, Any]:
    """Return the instructions of each function, with the names of maps instead of our descriptors of them."""
    functions, used = {}, set()
    for name in filter(None, (request["function"], request.get("tail"))):
        raw = bytearray(bpf.dump_func(name.encode()))
        places = {}
        for at in range(0, len(raw), 8):
            if raw[at] == _LOAD_64 and raw[at + 1] >> 4 == _MAP_FD:
                fd = int.from_bytes(raw[at + 4 : at + 8], "little")
                places[at // 8] = _name_of(bpf, numbers[fd])
                raw[at + 4 : at + 8] = bytes(4)
                used.add(fd)
        functions[name] = {"instructions": base64.b64encode(raw).decode(), "maps": places}
    shapes = {_name_of(bpf, numbers[fd]): astuple(syscall.map_shape(fd)) for fd in sorted(used)}
    return {"functions": functions, "maps": shapes, "frags": bool(request.get("frags"))}


def _name_of(bpf: Any, index: int) -> str:
    from bcc import lib

    lib.bpf_table_name.restype = ctypes.c_char_p  # BCC 0.26 leaves it undeclared
    name: bytes = lib.bpf_table_name(ctypes.c_void_p(bpf.module), index)
    return name.decode()


def _load(bpf: Any, request: dict[str, Any], function: str) -> int:
    """Load one function; return its fd. Raises OSError, after the verifier has had its say."""
    code = bpf.dump_func(function.encode())
    kind, frags = request.get("kind", "xdp"), bool(request.get("frags"))
    try:
        return syscall.load(code, function, kind, frags)
    except OSError:
        sys.stderr.write(f"the verifier's log of {function}:\n{syscall.verifier_log(code, function, kind, frags)}\n")
        raise


def _describe_map(bpf: Any, index: int) -> tuple[str, dict[str, Any] | None]:
    from bcc import lib

    module = ctypes.c_void_p(bpf.module)
    name = _name_of(bpf, index)
    wanted = syscall.MapShape(
        lib.bpf_table_type_id(module, index),
        lib.bpf_table_key_size_id(module, index),
        lib.bpf_table_leaf_size_id(module, index),
        lib.bpf_table_max_entries_id(module, index),
    )
    have = syscall.map_shape(lib.bpf_table_fd_id(module, index))
    if wanted != have:  # BCC adopts whatever is pinned there, even another type
        raise ValueError(f"pinned map {name} is {have}, the program wants {wanted}")
    if wanted.type == RINGBUF:
        return name, None
    table = bpf[name.encode()]
    return name, {
        "key": layout.describe(table.Key),
        "value": layout.describe(getattr(table, "sLeaf", table.Leaf)),
        "entries": wanted.entries,
        "per_cpu": wanted.type in _PER_CPU_TYPES,
    }


if __name__ == "__main__":
    try:
        print(json.dumps(compile_and_pin(json.load(sys.stdin))), flush=True)
    except Exception as error:  # BCC raises plain Exception; its words are on standard error already
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    os._exit(0)  # BCC's exit handlers would only free what ends anyway
