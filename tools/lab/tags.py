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

from tools.lab.instructions import EXIT, JUMP32_EQUAL, JUMP32_NOT_EQUAL, LOAD_FRAME_WORD, MOV, MOV_REGISTER, call, code
from tools.lab.net import VIP4, VIP6
from xdplb.dataplane import syscall

# include/uapi/linux/bpf.h
_SCHED_CLS = 3
_TCX_INGRESS, _TCX_EGRESS = 46, 47
_SKB_VLAN_PUSH, _SKB_VLAN_POP = 18, 19
_Q = 0x8100


_SAVE, _CONTEXT = code(MOV_REGISTER, 6, 1), code(MOV_REGISTER, 1, 6)
_OUT = code(MOV) + EXIT  # TC_ACT_OK


def _tagging(tags: Sequence[int]) -> bytes:
    """Return a program that tags what goes to a VIP, the innermost tag first."""
    pushes = b"".join(
        _CONTEXT + code(MOV, 2, value=socket.htons(_Q)) + code(MOV, 3, value=tag) + call(_SKB_VLAN_PUSH)
        for tag in reversed(tags)
    )
    vip4, vip6 = int(ip_address(VIP4)), int(ip_address(VIP6)) >> 96
    asked = (
        code(LOAD_FRAME_WORD, value=14 + 16)  # an IPv4 destination
        + code(JUMP32_EQUAL, offset=2, value=vip4)
        + code(LOAD_FRAME_WORD, value=14 + 24)  # the first word of an IPv6 destination
        + code(JUMP32_NOT_EQUAL, offset=len(pushes) // 8, value=vip6)
    )
    return _SAVE + asked + pushes + _OUT


def _untagging(tags: Sequence[int]) -> bytes:
    return _SAVE + len(tags) * (_CONTEXT + call(_SKB_VLAN_POP)) + _OUT


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
