"""Network namespaces by name, kept where `ip netns` keeps them: /run/netns/NAME."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path("/run/netns")

# include/uapi/linux/sched.h, include/uapi/linux/mount.h, <sys/mount.h>
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 1 << 12, 1 << 14, 1 << 20
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def create(name: str) -> None:
    """Make a namespace. Raises FileExistsError when the name is taken."""
    _share_folder()
    (FOLDER / name).touch(0o444, exist_ok=False)
    with _thread_comes_home():
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        _bind(b"/proc/thread-self/ns/net", os.fsencode(FOLDER / name))


def remove(name: str) -> None:
    """Take the name away, if it is there; the namespace ends with its last process, its wires with it."""
    path = FOLDER / name
    _libc.umount2(os.fsencode(path), _MNT_DETACH)  # EINVAL: its maker died before the mount
    path.unlink(missing_ok=True)


def enter(name: str) -> None:
    """Move this thread into a namespace for good. Raises FileNotFoundError when there is none of this name."""
    with open(FOLDER / name) as there:
        _check(_libc.setns(there.fileno(), _CLONE_NEWNET), "setns")


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Run the block in a namespace, this thread only: its new sockets, /proc/sys/net and its children.

    Mounts stay as they are, so /sys/fs/bpf stays in sight, which `ip netns exec` hides.
    """
    with _thread_comes_home():
        enter(name)
        yield


@contextlib.contextmanager
def _thread_comes_home() -> Iterator[None]:
    with open("/proc/thread-self/ns/net") as home:
        try:
            yield
        finally:
            _check(_libc.setns(home.fileno(), _CLONE_NEWNET), "setns")


def _share_folder() -> None:
    """Have every mount namespace see a name come and go, as ip-netns(8) does: otherwise one could keep it busy."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = os.fsencode(FOLDER)
    if _libc.mount(b"", folder, b"none", _MS_SHARED | _MS_REC, None) != 0:
        _bind(folder, folder)
        _check(_libc.mount(b"", folder, b"none", _MS_SHARED | _MS_REC, None), "mount --make-rshared")


def _bind(source: bytes, target: bytes) -> None:
    _check(_libc.mount(source, target, b"none", _MS_BIND | _MS_REC, None), "mount --bind")


def _check(result: int, call: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")
