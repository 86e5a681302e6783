"""bpf(2) as we call it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.rig.xdp import Xdp
from xdplb.dataplane import syscall

PASS = bytes.fromhex("b700000002000000 9500000000000000")  # r0 = XDP_PASS; exit


def test_a_program_can_be_loaded_run_and_described(xdp: Xdp) -> None:
    fd = syscall.load_xdp(PASS)
    try:
        action, frame, _ = syscall.test_run(fd, bytes(range(64)))
        assert (action, frame) == (2, bytes(range(64)))
        assert syscall.program(fd).instructions[-16:] == PASS
    finally:
        os.close(fd)


def test_a_program_that_the_verifier_refuses_is_an_oserror(xdp: Xdp) -> None:
    with pytest.raises(OSError, match=r"Permission denied|Invalid argument"):
        syscall.load_xdp(bytes.fromhex("9500000000000000"))  # exit without a value in r0


def test_pins_replace_each_other_and_a_missing_one_is_file_not_found(xdp: Xdp) -> None:
    path: Path = xdp.place.pins / "one"
    first, second = syscall.load_xdp(PASS), syscall.load_xdp(PASS)
    syscall.pin(first, path)
    syscall.pin(second, path)
    got = syscall.get(path)
    assert syscall.program(got).id == syscall.program(second).id
    path.unlink()
    with pytest.raises(FileNotFoundError):
        syscall.get(path)
    for fd in (first, second, got):
        os.close(fd)


def test_arrays_are_read_in_one_call_also_in_part(xdp: Xdp) -> None:
    fd = syscall.get(xdp.kernel.pinned.folder / "traffic")
    value = bytes(range(24)) * syscall.possible_cpus()
    syscall.update(fd, (3).to_bytes(4, "little"), value)
    assert syscall.lookup_array(fd, 4, len(value))[-len(value) :] == value
    assert len(syscall.lookup_array(fd, 256, len(value))) == 256 * len(value)
    assert syscall.lookup(fd, (3).to_bytes(4, "little"), len(value)) == value
    with pytest.raises(KeyError):
        syscall.lookup(fd, (999).to_bytes(4, "little"), len(value))
    os.close(fd)


def test_maps_of_ones_own_are_written_and_read_whole(xdp: Xdp) -> None:
    numbers = syscall.create_map(syscall.MapShape(2, 4, 8, 4))
    syscall.update_array(numbers, bytes(range(32)), 8)
    assert syscall.lookup_array(numbers, 4, 8) == bytes(range(32))
    names = syscall.MapShape(1, 4, 8, 16)  # HASH
    fd = syscall.create_map(names)
    assert syscall.lookup_hash(fd, names) == {}
    wanted = {bytes([n] * 4): bytes([n] * 8) for n in range(16)}
    for key, value in wanted.items():
        syscall.update(fd, key, value)
    assert syscall.lookup_hash(fd, names) == wanted
    os.close(numbers)
    os.close(fd)


def test_a_frame_can_come_by_any_interface(xdp: Xdp) -> None:
    """r0 = ctx->ingress_ifindex."""
    fd = syscall.load_xdp(bytes.fromhex("61100c0000000000 9500000000000000"))
    test = syscall.TestRun(fd)
    assert [test.run_from(bytes(64), 1)[0], test.run(bytes(64))[0]] == [1, 1]
    with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
        test.run_from(bytes(64), 99999)
    os.close(fd)


def test_an_unknown_id_is_not_found(xdp: Xdp) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        syscall.program_by_id(2**31 - 2)
