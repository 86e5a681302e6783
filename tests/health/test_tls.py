"""The `tls` check against servers with certificates that are good, or not."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from tests.rig.servers import NAME, Authority, Nginx, black_hole, closed_port, says, serve, silent, slow, target
from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Kind, Tls
from xdplb.health.probe import probe
from xdplb.model import Check

AGO = timedelta(days=-3.5)


def ask(port: int, tls: Tls, timeout_s: float = 1.0) -> ProbeEnded:
    ended = asyncio.run(probe(Check(port, kind=Kind.TLS, tls=tls, timeout_s=timeout_s), target(port)))
    prefix = f"tls 127.0.0.1:{port}: "
    assert ended.cause.startswith(prefix)
    return ProbeEnded(ended.passed, ended.cause.removeprefix(prefix), ended.warning)


def verified(authority: Authority, name: str = NAME) -> Tls:
    return Tls(name, verify=True, ca_file=authority.file)


def test_a_good_server_passes(nginx: Nginx, authority: Authority) -> None:
    ended = ask(nginx.https, verified(authority))
    assert ended.passed
    assert ended.cause.startswith("TLSv1.")
    assert ended.warning == ""


def test_refused_blackholed_and_silent_servers_fail() -> None:
    assert ask(closed_port(), Tls()) == ProbeEnded(False, "refused")
    with black_hole() as port:
        assert ask(port, Tls(), 0.1) == ProbeEnded(False, "a connection did not come within 0.1 s")
    with serve(silent) as port:
        assert ask(port, Tls(), 0.1) == ProbeEnded(False, "the end of the TLS handshake did not come within 0.1 s")


def test_an_answer_that_comes_late_or_ends_in_the_middle_fails() -> None:
    hello = bytes.fromhex("160303007a0200007603")
    with serve(slow(hello)) as port:
        assert ask(port, Tls(), 0.1) == ProbeEnded(False, "the end of the TLS handshake did not come within 0.1 s")
    with serve(says(hello)) as port:
        cause = "the server closed the connection in the middle of the TLS handshake"
        assert ask(port, Tls()) == ProbeEnded(False, cause)


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail\r\n"])
def test_what_is_not_tls_is_called_so(words: bytes) -> None:
    with serve(says(words)) as port:
        assert ask(port, Tls()) == ProbeEnded(False, "the server does not speak TLS")


def test_an_expired_certificate_fails_and_its_day_is_told(authority: Authority) -> None:
    with serve(silent, authority.context(ends_in=AGO)) as port:
        ended = ask(port, verified(authority))
    assert ended == ProbeEnded(False, f"the certificate of {NAME} expired on {authority.day(AGO)}")


def test_without_verification_it_is_a_warning(authority: Authority) -> None:
    with serve(silent, authority.context(ends_in=AGO)) as port:
        ended = ask(port, Tls(NAME))
    assert ended.passed
    assert ended.warning == f"certificate of {NAME} ended on {authority.day(AGO)}, 3 days ago"


def test_a_certificate_that_ends_soon_is_a_warning(authority: Authority) -> None:
    soon = timedelta(days=5.5)
    with serve(silent, authority.context(ends_in=soon)) as port:
        ended = ask(port, verified(authority))
        assert ended.passed
        assert ended.warning == f"certificate of {NAME} ends on {authority.day(soon)}, in 5 days"
        assert ask(port, Tls(NAME, expiry_days=5)).warning == ""


def test_a_certificate_for_other_names_fails_and_they_are_told(authority: Authority) -> None:
    names = [f"{letter}.example" for letter in "abcdef"]
    with serve(silent, authority.context(*names)) as port:
        cause = f"the certificate is for a.example, b.example, c.example, d.example and 2 more, not for {NAME}"
        assert ask(port, verified(authority)) == ProbeEnded(False, cause)
        assert ask(port, Tls(NAME)).passed  # nobody asked for more


def test_an_unknown_authority_fails_and_is_named(authority: Authority, tmp_path: Path) -> None:
    other = trustme.CA(organization_name="Somebody Else")
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with serve(silent, authority.context()) as port:
        ended = ask(port, Tls(NAME, verify=True, ca_file=str(tmp_path / "other.pem")))
        by_system = ask(port, Tls(NAME, verify=True))
    assert ended.cause.startswith(f"the certificate of {NAME} is signed by OU=Testing CA")
    assert ended.cause.endswith(": not known here")
    assert by_system.cause == ended.cause


def test_a_file_of_authorities_that_is_no_use_is_named(tmp_path: Path) -> None:
    with serve(silent) as port:
        missing = ask(port, Tls(NAME, verify=True, ca_file=f"{tmp_path}/none.pem"))
        (tmp_path / "bad.pem").write_text("nothing")
        bad = ask(port, Tls(NAME, verify=True, ca_file=f"{tmp_path}/bad.pem"))
    assert missing == ProbeEnded(False, f"ca_file {tmp_path}/none.pem cannot be read: no such file or directory")
    assert bad == ProbeEnded(False, f"ca_file {tmp_path}/bad.pem holds no certificates (PEM)")


def test_a_file_of_authorities_that_was_replaced_is_read_again(authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    with serve(silent, authority.context()) as port:
        assert not ask(port, Tls(NAME, verify=True, ca_file=str(file))).passed
        authority.ca.cert_pem.write_to_path(str(file))
        assert ask(port, Tls(NAME, verify=True, ca_file=str(file))).passed


def test_a_name_that_cannot_be_asked_for_is_told(authority: Authority) -> None:
    with serve(silent, authority.context()) as port:
        ended = ask(port, Tls("x" * 70 + ".example"))
    assert not ended.passed
    assert "is no name to ask for" in ended.cause


def test_a_name_that_the_server_refuses_is_told(authority: Authority) -> None:
    context = authority.context()
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    with serve(silent, context) as port:
        assert ask(port, Tls(NAME)).cause == "the server does not know the name that was asked for"
