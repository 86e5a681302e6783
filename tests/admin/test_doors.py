"""The sockets: who may connect, what is taken already, and mutual TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.rig.api import Api, ask_as, free_port, opened
from tests.rig.authority import Authority
from xdplb.admin.doors import set_modes, take_socket, take_tcp
from xdplb.errors import RefusedError
from xdplb.model import Admin


def test_only_root_gets_to_the_socket_unless_others_have_a_role(tmp_path: Path) -> None:
    path = tmp_path / "run" / "main" / "admin.sock"
    path.parent.mkdir(parents=True)

    def modes() -> tuple[int, int]:
        return path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777

    secret = path.with_name("spec.json")
    secret.touch(0o644)
    with take_socket(path):
        assert secret.stat().st_mode & 0o777 == 0o600
        assert modes() == (0o700, 0o600)
        set_modes(path, Admin(read=("nobody",)))
        assert modes() == (0o711, 0o666)
        set_modes(path, Admin())
        assert modes() == (0o700, 0o600)


@pytest.mark.root
def test_another_user_cannot_even_connect(tmp_path: Path) -> None:
    with opened(tmp_path) as api:
        assert ask_as(65534, api.path, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n") == b"refused"


def test_a_port_that_is_taken_is_told_with_the_key() -> None:
    admin = Admin(listen=("127.0.0.1", free_port()))
    with take_tcp(admin) as first:  # type: ignore[union-attr]
        first.listen()
        with pytest.raises(RefusedError, match=r"admin.listen 127.0.0.1 port \d+ cannot be taken \(Address already"):
            take_tcp(admin)
    assert take_tcp(Admin()) is None


@pytest.fixture(scope="module")
def remote(signer: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API on TCP."""
    with opened(tmp_path_factory.mktemp("remote"), signer.table(free_port())) as api:
        yield api


def test_a_certificate_has_its_role_and_another_one_none(remote: Api, signer: Authority) -> None:
    watch, ops, other = (signer.context(f"{name}.example") for name in ("watch", "ops", "other"))
    path, drain = "/v1/guard?address=192.0.2.1", "/v1/backends/nope/drain"

    assert remote.ask("GET", path, tls=watch).status == 200
    assert remote.ask("PUT", drain, tls=watch).status == 403
    assert remote.ask("PUT", drain, tls=ops).status == 404
    refused = remote.ask("GET", path, tls=other)
    assert (refused.status, refused.error.startswith("other.example has no role; this needs read")) == (403, True)
    line = remote.daemon.audit.read()[-1]
    assert (line["who"], line["certificate"], line["address"], line["status"]) == (
        "other.example",
        "other.example",
        "127.0.0.1",
        403,
    )


def test_without_a_certificate_of_the_authority_nothing_is_answered(remote: Api, signer: Authority) -> None:
    for context in (signer.context(None), signer.context("ops.example", trustme.CA())):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            remote.ask("GET", "/v1/status", tls=context)
    old = signer.context("ops.example")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        remote.ask("GET", "/v1/status", tls=old)


def test_a_certificate_that_was_replaced_is_shown_to_the_next_who_comes(remote: Api, signer: Authority) -> None:
    def serial() -> str:
        import socket

        with socket.create_connection(remote.daemon.config.admin.listen or ("", 0)) as plain:
            context = signer.context("ops.example")
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
                return str((secured.getpeercert() or {})["serialNumber"])

    before = serial()
    assert serial() == before
    signer.write()
    assert serial() != before
