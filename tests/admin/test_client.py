"""The client's errors, where no daemon answers as one should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.api import free_port, opened
from tests.rig.authority import Authority
from xdplb.admin.client import Client, Remote
from xdplb.errors import DaemonError, XdplbError


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


def test_what_is_wrong_on_the_way_to_another_machine_is_told(signer: Authority, tmp_path: Path) -> None:
    rubbish, stranger = tmp_path / "rubbish", tmp_path / "stranger"
    rubbish.write_text("rubbish")
    stranger.mkdir()
    right, other = (a.client("ops.example")[1::2] for a in (signer, Authority(stranger)))
    port = free_port()
    good = f"https://127.0.0.1:{port}"
    foreign = "its certificate is not good for it: "
    with opened(tmp_path / "api", signer.table(port)):
        for url, files, status, words in (
            ("http://x", right, 2, "--url: 'http://x' is no address of a daemon; write https://host:8443"),
            ("https://x:port", right, 2, "--url: 'https://x:port' is no address of a daemon"),
            (good, [*right[:2], str(rubbish)], 2, f"--ca: {rubbish} cannot be used: "),
            (good, [str(rubbish), *right[1:]], 2, f"--cert: {rubbish} with "),
            (good, [*right[:1], other[1], right[2]], 2, "cannot be used: KEY_VALUES_MISMATCH; give files in PEM"),
            (f"https://127.0.0.1:{free_port()}", right, 1, "no daemon answers at https://127.0.0.1"),
            (good, other, 1, foreign),
            (good.replace("127.0.0.1", "localhost"), right, 1, foreign),
            (good, [*other[:2], right[2]], 1, "our certificate was not taken"),
        ):
            with pytest.raises(XdplbError) as caught:
                Client(Remote(url, *files)).look_up("192.0.2.1")
            assert (words in str(caught.value), caught.value.status) == (True, status), str(caught.value)
        assert Client(Remote(good, *right)).look_up("192.0.2.1")["verdict"] is None


def test_who_has_no_role_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "closing.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        with pytest.raises(DaemonError, match=r"closed the connection; .*has your user a role in \[admin\]"):
            Client(path).status()
