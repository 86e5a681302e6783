"""A SYN flood of the lab's own making: `python -m tools.lab.flood IFNAME LB_MAC VIP [--port 80] [--share 0.5]`

Frames of 64 bytes (60 and the checksum) with right checksums, each from another address of 11.0.0.0/8, leave by an
interface of this namespace as if its stack had sent them. The kernel makes them (BPF_F_TEST_XDP_LIVE_FRAMES), and what
a veth's other end does with them is done by the same core; of which this takes a share, and not more. At SIGTERM it
prints `{"seconds": ..., "frames": ..., "busy_s": ...}`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import socket
import struct
import time
from ipaddress import ip_address

from tools.lab.instructions import (
    ADD,
    ADD_REGISTER,
    AND,
    EXIT,
    JUMP_GREATER,
    LOAD_WORD,
    MOV,
    MOV_REGISTER,
    OR,
    SHIFT_RIGHT,
    STORE_HALF,
    STORE_LONG,
    STORE_WORD,
    SUB_REGISTER,
    call,
    code,
    long,
)
from xdplb.dataplane import syscall

BYTES = 60
NET = 11  # sources are of 11.0.0.0/8
_XDP_ABORTED, _XDP_TX = 0, 3
_GET_PRANDOM = 7
_SOURCE, _IDENTIFICATION, _SEQUENCE = 26, 18, 40  # where they are in the frame


def checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(own_mac: bytes, lb_mac: bytes, vip: str, port: int) -> bytes:
    """Return the frame with 0 for source, identification and sequence number: the sums know that they cancel out."""
    destination = ip_address(vip).packed
    ip = struct.pack(">BBHHHBBH4x4s", 0x45, 0, 40, 0, 0, 64, 6, 0, destination)
    tcp = struct.pack(">HHIIBBHHH", 40_000, port, 0, 0, 5 << 4, 2, 65_535, 0, 0)
    pseudo = bytes(4) + destination + struct.pack(">HH", 6, 20)
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    tcp = tcp[:16] + checksum(pseudo + tcp).to_bytes(2, "big") + tcp[18:]
    return (lb_mac + own_mac + b"\x08\0" + ip + tcp).ljust(BYTES, b"\0")


def program(frame: bytes) -> bytes:
    """Return the program that writes the frame anew (its page has been elsewhere), with another source."""
    write = (
        b"".join(long(1, frame[at : at + 8]) + code(STORE_LONG, 7, 1, at) for at in range(0, BYTES - 7, 8))
        + long(1, frame[-8:])
        + code(STORE_LONG, 7, 1, BYTES - 8)
    )
    source = (
        call(_GET_PRANDOM) + code(AND, 0, value=0xFFFFFF00) + code(OR, 0, value=NET) + code(STORE_WORD, 7, 0, _SOURCE)
    )
    fold = (
        code(MOV_REGISTER, 1, 0)
        + code(AND, 1, value=0xFFFF)
        + code(SHIFT_RIGHT, 0, value=16)
        + code(ADD_REGISTER, 0, 1)
    )
    # What the source adds to a sum of RFC 1071, the other field takes away.
    less = code(MOV, 2, value=0xFFFF) + code(SUB_REGISTER, 2, 0)
    even = fold + fold + less
    even += code(STORE_HALF, 7, 2, _IDENTIFICATION) + code(STORE_HALF, 7, 2, _SEQUENCE)
    body = write + source + even + code(MOV, 0, value=_XDP_TX) + EXIT
    head = (
        code(LOAD_WORD, 7, 1)
        + code(LOAD_WORD, 8, 1, 4)
        + code(MOV_REGISTER, 1, 7)
        + code(ADD, 1, value=BYTES)
        + code(JUMP_GREATER, 1, 8, len(body) // 8)
    )
    return head + body + code(MOV, 0, value=_XDP_ABORTED) + EXIT


def send(fd: int, index: int, frames: int) -> float:
    """Send so many; returns the seconds that it took the core, other tasks' turns not counted."""
    context = (ctypes.c_uint32 * 6)(0, BYTES, 0, index, 0, 0)  # struct xdp_md
    data = ctypes.create_string_buffer(BYTES)
    attr = syscall._Test(prog_fd=fd, data_size_in=BYTES, repeat=frames, ctx_size_in=ctypes.sizeof(context))
    attr.data_in, attr.ctx_in = ctypes.addressof(data), ctypes.addressof(context)
    attr.flags, attr.batch_size = syscall.F_TEST_XDP_LIVE_FRAMES, 64
    began = time.thread_time()
    syscall._bpf(syscall.PROG_TEST_RUN, attr)
    return time.thread_time() - began


def flood(fd: int, index: int, share: float, frames: int = 65_536) -> dict[str, float]:
    """Send until SIGTERM, and rest as long as the share wants it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # it would break off a call in the kernel
    sent, busy_s, rest_s, began = 0, 0.0, 0.0, time.monotonic()
    print("ready", flush=True)
    while signal.sigtimedwait({signal.SIGTERM}, rest_s) is None:
        busy_s += send(fd, index, frames)
        sent += frames
        rest_s = max(busy_s / share - (time.monotonic() - began), 0.0)
        if not rest_s:
            frames = min(frames * 5 // 4, 1 << 20)  # a call waits for RCU at its end: more in one
    return {"seconds": round(time.monotonic() - began, 3), "frames": sent, "busy_s": round(busy_s, 3)}


def main() -> None:
    """Read the arguments, flood, say how much it was."""
    parser = argparse.ArgumentParser(prog="python -m tools.lab.flood", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("ifname")
    parser.add_argument("lb_mac")
    parser.add_argument("vip")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--share", type=float, default=0.5, help="of one core (%(default)s)")
    parser.add_argument("--cpu", type=int, default=1, help="which (%(default)s)")
    given = parser.parse_args()
    os.sched_setaffinity(0, {given.cpu})
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as own:
        own.bind((given.ifname, 0))
        own_mac = own.getsockname()[4]
    frame = syn(own_mac, bytes.fromhex(given.lb_mac.replace(":", "")), given.vip, given.port)
    print(json.dumps(flood(syscall.load_xdp(program(frame)), socket.if_nametoindex(given.ifname), given.share)))


if __name__ == "__main__":
    main()
