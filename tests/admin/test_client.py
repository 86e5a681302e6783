"""The client's errors, where no daemon answers as one should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig.api import free_port, opened
from tests.rig.authority import Authority
from xdplb.admin.client import Client, Remote
from xdplb.errors import DaemonError, XdplbError


def test_no_daemon_is_told_with_the_command_that_starts_one(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match=r"no daemon answers at .*start it with `xdplb run CONFIG`"):
        Client(tmp_path / "none.sock").status()


class Server:
    """A server that gives one answer, whatever is asked."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.path, self._answer, self.asked = path, answer, b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            self.asked = connection.recv(1000)
            connection.sendall(self._answer)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[bytes], Server]]:
    """Start servers, each with its answer."""
    servers: list[Server] = []

    def start(answer: bytes) -> Server:
        servers.append(Server(tmp_path / f"{len(servers)}.sock", answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def babbler(answering: Callable[[bytes], Server]) -> Path:
    """A server that does not speak HTTP."""
    return answering(b"hello\r\n").path


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_has_its_http_status(answering: Callable[[bytes], Server], status: int) -> None:
    server = answering(b'HTTP/1.1 %d No\r\nContent-Length: 15\r\n\r\n{"error": "no"}' % status)

    with pytest.raises(DaemonError, match=r"^no$") as refused:
        Client(server.path).drain_backend("b1", "web")
    assert refused.value.http == status


def test_events_are_asked_for_after_a_number(answering: Callable[[bytes], Server]) -> None:
    server = answering(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nid: 8\ndata: {"number": 8}\n\n')

    assert list(Client(server.path).events(after=7)) == [{"number": 8}]
    assert server.asked.startswith(b"GET /v1/events?after=7 HTTP/1.1")


def test_who_sends_most_is_asked_for_so_long(answering: Callable[[bytes], Server]) -> None:
    server = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    assert Client(server.path).sources({"for_s": "3"}) == []
    assert server.asked.startswith(b"GET /v1/sources?for_s=3 HTTP/1.1")


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
