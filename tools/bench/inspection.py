"""What the kernel made of a program: its size, and the calls that are left in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from xdplb.dataplane import syscall

CALL = 0x85  # BPF_JMP | BPF_CALL; a source register of 0 means a function of the kernel
WIDE = 0x18  # BPF_LD | BPF_IMM | BPF_DW: its second half is no instruction of its own


@dataclass(frozen=True, slots=True)
class Inspection:
    """A program as it runs. `machine_bytes` and `verified` are 0 where the kernel does not tell."""

    instructions: int
    machine_bytes: int
    verified: int  # instructions that the verifier went through
    calls: dict[str, int]  # how often each function of the kernel stands in it


def inspect(fd: int) -> Inspection:
    """Ask the kernel about a loaded program."""
    program = syscall.program(fd)
    names = Counter(_name(offset) for offset in _called(program.instructions))
    return Inspection(len(program.instructions) // 8, program.machine_bytes, program.verified, dict(names))


def _called(code: bytes) -> Iterator[int]:
    """Yield the immediate of every call."""
    at = 0
    while at < len(code):
        if code[at] == CALL and code[at + 1] >> 4 == 0:
            yield int.from_bytes(code[at + 4 : at + 8], "little", signed=True)
        at += 16 if code[at] == WIDE else 8


def _name(offset: int) -> str:
    """Name what a call goes to, by its distance from `__bpf_call_base`."""
    addresses, names = _symbols()
    return names.get(addresses.get("__bpf_call_base", 0) + offset, "a function without a name")


@cache
def _symbols() -> tuple[dict[str, int], dict[int, str]]:
    """Addresses by name and the other way round; all are 0 for who may not see them."""
    lines = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    functions = [(words[2], int(words[0], 16)) for words in lines if words[1] in "tT"]
    return dict(functions), {address: name for name, address in functions if address}
