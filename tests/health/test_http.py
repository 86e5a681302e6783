"""The `http` and `https` checks over HTTP/1.1, against nginx and against servers that do what none should."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta

import pytest

from tests.rig.servers import NAME, Authority, Nginx, black_hole, closed_port, says, serve, silent, slow, target
from xdplb import __version__
from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Http, Kind, Tls
from xdplb.health.probe import Steps, probe
from xdplb.model import Check

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def ask(port: int, wanted: Http | None = None, timeout_s: float = 1.0, tls: Tls | None = None) -> ProbeEnded:
    kind = Kind.HTTPS if tls else Kind.HTTP
    check = Check(port, kind=kind, ask=wanted or Http(), tls=tls, timeout_s=timeout_s)
    ended = asyncio.run(probe(check, target(port)))
    prefix = f"{kind} 127.0.0.1:{port}: "
    assert ended.cause.startswith(prefix)
    return ProbeEnded(ended.passed, ended.cause.removeprefix(prefix), ended.warning)


def failed(cause: str) -> ProbeEnded:
    return ProbeEnded(False, cause)


def heard(port_of: Http) -> bytes:
    """Return a request as a server gets it."""
    got = []

    def handle(accepted: socket.socket) -> None:
        got.append(accepted.recv(65536))
        accepted.sendall(OK)

    with serve(handle) as port:
        assert ask(port, port_of).passed
    return bytes(got[0]).replace(f":{port}".encode(), b":PORT")


def test_a_good_server_passes_and_its_status_is_told(nginx: Nginx) -> None:
    ended = ask(nginx.http, Http(body="all.*well"))
    assert ended.passed
    assert ended.cause.startswith("200 in ")
    assert ended.cause.endswith(" ms")


def test_refused_blackholed_and_silent_servers_fail() -> None:
    assert ask(closed_port()) == failed("refused")
    with black_hole() as port:
        assert ask(port, timeout_s=0.1) == failed("a connection did not come within 0.1 s")
    with serve(silent) as port:
        assert ask(port, timeout_s=0.1) == failed("the head of an answer did not come within 0.1 s")


def test_an_answer_that_comes_late_fails_and_what_was_missing_is_told() -> None:
    with serve(slow(OK)) as port:
        assert ask(port, timeout_s=0.1) == failed("the head of an answer did not come within 0.1 s")
    with serve(slow(OK[:-1])) as port:
        late = ask(port, Http(body="ok"), timeout_s=0.5)
    assert late == failed(
        "the answer is broken: peer closed connection without sending complete message body "
        "(received 1 bytes, expected 2)"
    )


def test_a_server_that_closes_in_the_middle_fails() -> None:
    with serve(says(b"")) as port:
        assert ask(port) == failed("the server closed the connection without an answer")
    with serve(says(OK[:20])) as port:
        cause = "the server closed the connection in the middle of the head: b'HTTP/1.1 200 OK\\r\\nCon'"
        assert ask(port) == failed(cause)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP/1.1: b'SSH-2.0-OpenSSH_9.2\\r\\n'"),
        (b"\x15\x03\x01\0\2\2F", "the answer is not HTTP/1.1: b'\\x15\\x03\\x01\\x00\\x02\\x02F'; it speaks TLS"),
    ],
)
def test_what_is_not_http_is_shown(said: bytes, cause: str) -> None:
    with serve(says(said)) as port:
        assert ask(port) == failed(cause)


def test_the_status_must_be_in_one_of_the_ranges(nginx: Nginx) -> None:
    assert ask(nginx.http, Http(path="/broken")) == failed("answered 503, not 200-399")
    assert ask(nginx.http, Http(path="/broken", status=((200, 299), (503, 503)))).passed
    assert ask(nginx.http, Http(path="/moved", status=((200, 299), (302, 302)))) == failed(
        "answered 301, not 200-299, 302"
    )


def test_a_redirect_is_an_answer_as_any_other(nginx: Nginx) -> None:
    assert ask(nginx.http, Http(path="/moved")).cause.startswith("301 in ")


def test_the_body_must_have_a_match(nginx: Nginx) -> None:
    cause = "'ill' is not in the 12 bytes of the body: b'all is well\\n'"
    assert ask(nginx.http, Http(body="^ill")).cause == cause.replace("'ill'", "'^ill'")
    assert ask(nginx.http, Http(body="ill")) == failed(cause)


def test_no_more_than_64_kib_of_a_body_are_looked_at(nginx: Nginx) -> None:
    assert ask(nginx.http, Http(path="/big", body="^BEGIN")).passed
    ended = ask(nginx.http, Http(path="/big", body="END"))
    assert ended.cause.startswith("'END' is not in the first 65536 bytes of the body: b'BEGIN")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwel\r\n2\r\ncom\r\n0\r\n\r\n".replace(
            b"2\r\nc", b"3\r\nc"
        ),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwelcom",
        b"HTTP/1.0 200 OK\r\n\r\nwelcom",
    ],
    ids=["chunked", "1xx before it", "until the end"],
)
def test_bodies_come_in_every_way(answer: bytes) -> None:
    with serve(says(answer)) as port:
        assert ask(port, Http(body="^welcom$")).passed


def test_an_answer_to_head_has_no_body(nginx: Nginx) -> None:
    assert ask(nginx.http, Http(method="HEAD", path="/big")).passed
    assert ask(nginx.http, Http(method="HEAD", path="/big", body="x")).cause.startswith("'x' is not in the 0 bytes")


def test_a_request_names_its_host_and_us_and_wants_to_be_the_last() -> None:
    assert (
        heard(Http(path="/a?b"))
        == (
            f"GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nUser-Agent: xdplb/{__version__}\r\nConnection: close\r\n\r\n"
        ).encode()
    )


def test_own_headers_win() -> None:
    own = (("host", "b"), ("user-agent", "me"), ("Connection", "keep-alive"), ("X-Own", "1"))
    request = heard(Http(host="a", headers=own))
    assert request == b"GET / HTTP/1.1\r\nHost: b\r\nuser-agent: me\r\nConnection: keep-alive\r\nX-Own: 1\r\n\r\n"


def test_a_post_without_a_body_says_so() -> None:
    assert b"\r\nContent-Length: 0\r\n" in heard(Http(method="POST"))


def test_headers_that_contradict_each_other_are_told(nginx: Nginx) -> None:
    ended = ask(nginx.http, Http(method="POST", headers=(("Content-Length", "5"),)))
    assert ended.cause.startswith("such a request cannot be sent: ")


@pytest.mark.parametrize("packet_bytes", [576, 1500, 9000])
def test_with_full_size_the_request_fills_a_packet(nginx: Nginx, packet_bytes: int) -> None:
    check, steps = Check(kind=Kind.HTTP, ask=Http(), full_size=True), Steps()
    assert asyncio.run(probe(check, target(nginx.http, packet_bytes), steps)).passed
    sent = next(step.sent for step in steps.steps if step.sent)
    assert sent in (packet_bytes - 40, packet_bytes - 52)  # with time stamps, TCP's header is 12 bytes longer


@pytest.mark.root
def test_a_hole_that_swallows_full_packets_is_told() -> None:
    check = Check(kind=Kind.HTTP, ask=Http(), full_size=True, timeout_s=0.2)
    with serve(says(OK), longest=1400) as port:
        ended = asyncio.run(probe(check, target(port, 1500)))
        assert asyncio.run(probe(Check(kind=Kind.HTTP, ask=Http()), target(port, 1500))).passed
    assert not ended.passed
    assert "(packets of 1500 bytes probably do not get through) did not come within 0.2 s" in ended.cause


def test_https_passes_with_a_good_certificate_and_warns_of_its_end(nginx: Nginx, authority: Authority) -> None:
    tls = Tls(NAME, verify=True, ca_file=authority.file)
    ended = ask(nginx.https, Http(body="well"), tls=tls)
    assert (ended.passed, ended.warning) == (True, "")
    warned = ask(nginx.https, tls=Tls(NAME, expiry_days=91))
    assert warned.passed
    assert warned.warning == f"certificate of {NAME} ends on {authority.day(timedelta(days=90))}, in 89 days"


def test_https_with_a_certificate_that_is_not_good_fails(authority: Authority) -> None:
    tls, ago = Tls(NAME, verify=True, ca_file=authority.file), timedelta(days=-2)
    with serve(says(OK), authority.context(ends_in=ago)) as port:
        assert ask(port, tls=tls) == failed(f"the certificate of {NAME} expired on {authority.day(ago)}")
    with serve(says(OK), authority.context("other.example")) as port:
        assert ask(port, tls=tls) == failed(f"the certificate is for other.example, not for {NAME}")


def test_https_to_a_server_that_is_silent_or_no_tls_fails(nginx: Nginx, authority: Authority) -> None:
    with serve(silent) as port:
        assert ask(port, timeout_s=0.1, tls=Tls()) == failed("the end of the TLS handshake did not come within 0.1 s")
    with serve(silent, authority.context()) as port:
        assert ask(port, timeout_s=0.1, tls=Tls()) == failed("the head of an answer did not come within 0.1 s")
    assert ask(nginx.http, tls=Tls()) == failed("the server does not speak TLS")


def test_a_server_that_never_stops_sending_is_given_up() -> None:
    def endless(connection: socket.socket) -> None:
        connection.recv(65536)
        while True:
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 500)

    with serve(endless) as port:
        ended = asyncio.run(asyncio.wait_for(probe(Check(kind=Kind.HTTP, timeout_s=5), target(port)), 10))
    assert (ended.passed, ended.cause) == (
        False,
        f"http 127.0.0.1:{port}: the server sends more than 262144 bytes",
    )
