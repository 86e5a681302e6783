"""BPF instructions by hand, for the lab's own programs, which are too small to wake a compiler.

Encoding and names: Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

EXIT = bytes((0x95,)) + bytes(7)
MOV, MOV_REGISTER = 0xB7, 0xBF
ADD, ADD_REGISTER, SUB_REGISTER, AND, OR, SHIFT_RIGHT = 0x07, 0x0F, 0x1F, 0x57, 0x47, 0x77
LOAD_WORD, STORE_HALF, STORE_WORD, STORE_LONG = 0x61, 0x6B, 0x63, 0x7B
LOAD_FRAME_WORD = 0x20  # into r0, host order, the context in r6; it returns 0 when the frame ends before
JUMP_GREATER, JUMP32_EQUAL, JUMP32_NOT_EQUAL = 0x2D, 0x16, 0x56


def code(operation: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """Return one instruction; `to` and `of` are registers."""
    return bytes((operation, of << 4 | to)) + offset.to_bytes(2, "little", signed=True) + value.to_bytes(4, "little")


def call(helper: int) -> bytes:
    """Return the call of a helper (include/uapi/linux/bpf.h)."""
    return code(0x85, value=helper)


def long(to: int, value: bytes) -> bytes:
    """Return the two instructions that put 8 bytes, as they lie in memory, into a register."""
    low, high = (int.from_bytes(part, "little") for part in (value[:4], value[4:]))
    return code(0x18, to, value=low) + code(0, value=high)
