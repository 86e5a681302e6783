"""The client's errors, where no daemon answers as one should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from xdplb.admin.client import Client
from xdplb.errors import DaemonError


def test_no_daemon_is_told_with_the_command_that_starts_one(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match=r"no daemon answers at .*start it with `xdplb run CONFIG`"):
        Client(tmp_path / "none.sock").status()


@pytest.fixture
def babbler(tmp_path: Path) -> Iterator[Path]:
    """A server that does not speak HTTP."""
    path = tmp_path / "babble.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"hello\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield path


def test_something_else_on_the_socket_is_told(babbler: Path) -> None:
    with pytest.raises(DaemonError, match="did not answer"):
        Client(babbler).status()


def test_a_socket_that_nobody_listens_on_is_no_daemon(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    with pytest.raises(DaemonError, match="no daemon answers"):
        Client(path).status()
