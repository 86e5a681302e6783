"""What systemd is told and what it gives: sd_notify(3), the watchdog, sockets (sd_listen_fds(3)).

Without systemd, all of it does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

from xdplb.errors import RefusedError

_FIRST_FD = 3  # SD_LISTEN_FDS_START


def tell(*lines: str) -> None:
    """Send states to the service manager."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender:
        sender.setblocking(False)
        with contextlib.suppress(OSError):  # a manager that does not read must not end what it manages
            name = "\0" + address[1:] if address.startswith("@") else address
            sender.sendto("\n".join(lines).encode(), name)


def tell_reloading() -> None:
    """Say that a reload begins, with the time by which Type=notify-reload knows it; READY=1 says that it is over."""
    tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_s() -> float | None:
    """Return within which time it wants to hear from this process, over and over; None: it does not."""
    wanted, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(wanted) / 1e6 if wanted.isdecimal() and int(wanted) and pid == str(os.getpid()) else None


def gives_sockets() -> bool:
    """Whether systemd has opened sockets for this process."""
    return os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS", "").isdecimal()


def given_socket(path: Path) -> socket.socket | None:
    """Return the socket that systemd listens on for us, once; None: it does not. Raises RefusedError: on another name.

    The name belongs to systemd: it stays when we end.
    """
    if not gives_sockets():
        return None
    number = int(os.environ.pop("LISTEN_FDS"))
    del os.environ["LISTEN_PID"]  # a child is given nothing
    given = [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + number)]
    for one in given:
        one.set_inheritable(False)
    names = [one.getsockname() for one in given]
    if names != [str(path)]:
        for one in given:
            one.close()
        told = ", ".join(map(str, names)) or "nothing"
        fix = "set ListenStream of the socket unit to that one path, or balancer.name"
        raise RefusedError(f"systemd listens on {told}, and the admin socket is {path}; {fix}")
    return given[0]
