"""VLAN tags on a wire without the kernel's 8021q: programs at one end put tags on what goes to a VIP.

They are tcx programs (Linux 6.6) of a dozen instructions. The tag must be in the frame's bytes, where the XDP program
at the other end looks, so the interface may not keep it aside for hardware: `tx-vlan-hw-insert` goes off meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from pyroute2.ethtool.ioctl import IoctlEthtool

from tools.lab.net import VIP4, VIP6
from xdplb.dataplane import syscall

# include/uapi/linux/bpf.h
_SCHED_CLS = 3
_TCX_INGRESS, _TCX_EGRESS = 46, 47
_SKB_VLAN_PUSH, _SKB_VLAN_POP = 18, 19
_Q = 0x8100


def _code(opcode: int, registers: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return bytes((opcode, registers)) + offset.to_bytes(2, "little", signed=True) + value.to_bytes(4, "little")


_SAVE, _CONTEXT = _code(0xBF, 0x16), _code(0xBF, 0x61)  # r6 = r1; r1 = r6
_OUT = _code(0xB7) + _code(0x95)  # return TC_ACT_OK


def _word(at: int) -> bytes:
    return _code(0x20, value=at)  # r0 = the word at this byte of the frame; no such byte: return 0


def _unless(value: int, skip: int, equal: bool = False) -> bytes:
    return _code(0x16 if equal else 0x56, 0, skip, value)  # jump over so many, 32 bits compared


def _push(tci: int) -> bytes:
    arguments = _code(0xB7, 2, 0, socket.htons(_Q)) + _code(0xB7, 3, 0, tci)
    return _CONTEXT + arguments + _code(0x85, 0, 0, _SKB_VLAN_PUSH)


def _tagging(tags: Sequence[int]) -> bytes:
    """Return a program that tags what goes to a VIP, the innermost tag first."""
    pushes = b"".join(_push(tag) for tag in reversed(tags))
    vip4, vip6 = int(ip_address(VIP4)), int(ip_address(VIP6)) >> 96
    asked = _word(30) + _unless(vip4, 2, equal=True) + _word(38) + _unless(vip6, len(pushes) // 8)
    return _SAVE + asked + pushes + _OUT


def _untagging(tags: Sequence[int]) -> bytes:
    return _SAVE + len(tags) * (_CONTEXT + _code(0x85, 0, 0, _SKB_VLAN_POP)) + _OUT


def _attach(instructions: bytes, index: int, kind: int) -> int:
    code, text = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"GPL")
    attr = syscall._ProgLoad(_SCHED_CLS, len(instructions) // 8)
    attr.insns, attr.license = ctypes.addressof(code), ctypes.addressof(text)
    program = syscall._bpf(syscall.PROG_LOAD, attr)
    try:
        return syscall._bpf(syscall.LINK_CREATE, syscall._LinkCreate(program, index, kind))
    finally:
        os.close(program)


@contextlib.contextmanager
def tagged(ifname: str, tags: Sequence[int]) -> Iterator[None]:
    """Tag what leaves for a VIP by this interface of the thread's namespace, outermost first; untag what comes."""
    index = socket.if_nametoindex(ifname)
    with contextlib.closing(IoctlEthtool(ifname)) as device:
        features = device.get_features()
        before = features["tx-vlan-hw-insert"]
        features["tx-vlan-hw-insert"] = False
        device.set_features(features)
        links = []
        try:
            links.append(_attach(_tagging(tags), index, _TCX_EGRESS))
            links.append(_attach(_untagging(tags), index, _TCX_INGRESS))
            yield
        finally:
            for link in links:
                os.close(link)
            features["tx-vlan-hw-insert"] = before
            device.set_features(features)
