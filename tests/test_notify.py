"""What systemd is told, and what is taken from it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.lab.stand import ROOT
from xdplb import notify

TAKE = """
import sys
from pathlib import Path
from xdplb import notify
from xdplb.errors import RefusedError
try:
    taken = notify.given_socket(Path(sys.argv[1]))
except RefusedError as error:
    sys.exit(str(error))
print(taken.getsockname(), taken.get_inheritable(), notify.gives_sockets(), notify.given_socket(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_told_in_one_datagram(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"\0xdplb-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        notify.tell("READY=1", "STATUS=fine")
        assert manager.recv(1000) == b"READY=1\nSTATUS=fine"
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notify.tell_reloading()
        first, second = manager.recv(1000).decode().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify.tell("STATUS=nobody hears that")  # and that is no reason to end


def test_the_watchdog_is_only_for_whom_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notify.watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert notify.watchdog_s() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert notify.watchdog_s() is None


def give(listener: socket.socket, wanted: Path) -> subprocess.CompletedProcess[str]:
    """Start a process as systemd does: the socket is its fd 3, and LISTEN_PID is its pid."""
    start = f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
    argv = ["bash", "-c", start, "-", sys.executable, "-c", TAKE, str(wanted)]
    return subprocess.run(argv, cwd=ROOT, pass_fds=[listener.fileno()], capture_output=True, text=True, timeout=20)


def test_a_socket_that_systemd_gives_is_taken_once_and_not_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert give(listener, path).stdout == f"{path} False False None\n"
        refused = give(listener, tmp_path / "other.sock").stderr
    assert refused.startswith(
        f"systemd listens on {path}, and the admin socket is {tmp_path / 'other.sock'}; set Listen"
    )
