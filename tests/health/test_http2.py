"""The `http` and `https` checks over HTTP/2, against nginx and against servers that do what none should."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from h2.connection import H2Connection

from tests.rig.servers import (
    NAME,
    Authority,
    Nginx,
    RawHeaders,
    answering,
    black_hole,
    closed_port,
    says,
    serve,
    silent,
    slow,
    target,
)
from xdplb import __version__
from xdplb.health.check import ProbeEnded
from xdplb.health.kinds import Http, Kind, Tls
from xdplb.health.probe import Steps, probe
from xdplb.model import Check

SETTINGS = b"\0\0\0\4\0\0\0\0\0"
HTTP2 = Http(http2=True)


def ask(port: int, wanted: Http = HTTP2, timeout_s: float = 1.0, tls: Tls | None = None) -> ProbeEnded:
    kind = Kind.HTTPS if tls else Kind.HTTP
    ended = asyncio.run(probe(Check(port, kind=kind, ask=wanted, tls=tls, timeout_s=timeout_s), target(port)))
    prefix = f"{kind} 127.0.0.1:{port}: "
    assert ended.cause.startswith(prefix)
    return ProbeEnded(ended.passed, ended.cause.removeprefix(prefix), ended.warning)


def failed(cause: str) -> ProbeEnded:
    return ProbeEnded(False, cause)


def test_nginx_passes_with_prior_knowledge_and_over_tls(nginx: Nginx, authority: Authority) -> None:
    wanted = Http(http2=True, body="^all is well$")
    for ended in (ask(nginx.h2c, wanted), ask(nginx.h2, wanted, tls=Tls(NAME, verify=True, ca_file=authority.file))):
        assert ended.passed
        assert ended.cause.startswith("200 in ")


def test_refused_blackholed_silent_and_late_servers_fail() -> None:
    assert ask(closed_port()) == failed("refused")
    with black_hole() as port:
        assert ask(port, timeout_s=0.1) == failed("a connection did not come within 0.1 s")
    for handle in (silent, slow(SETTINGS)):
        with serve(handle) as port:
            assert ask(port, timeout_s=0.1) == failed("the head of an answer did not come within 0.1 s")


def test_a_server_that_closes_in_the_middle_fails() -> None:
    with serve(says(SETTINGS)) as port:
        assert ask(port) == failed("the server closed the connection before the head of an answer")

    def half(talk: H2Connection, _: RawHeaders) -> None:
        talk.send_headers(1, [(":status", "200")])
        talk.send_data(1, b"hal")

    with serve(answering(half)) as port:
        assert ask(port, Http(http2=True, body="half")) == failed(
            "the server closed the connection before the end of the answer"
        )
        assert ask(port).passed  # nobody asked for the body


def test_a_server_that_speaks_http1_only_fails(nginx: Nginx) -> None:
    assert ask(nginx.http).cause.startswith("the answer is not HTTP/2: b'HTTP/1.1 400 Bad Request")
    cause = "the server speaks none of the protocols that were offered (ALPN)"
    assert ask(nginx.https, tls=Tls()) == failed(cause)


def test_frames_that_should_not_be_are_told() -> None:
    with serve(says(SETTINGS + b"\0\0\1\0\0\0\0\0\1x")) as port:
        assert ask(port).cause.startswith("the answer is broken: ")


def test_a_server_that_chooses_nothing_of_what_is_offered_fails(authority: Authority) -> None:
    with serve(silent, authority.context(alpn=("http/1.1",))) as port:
        ended = ask(port, tls=Tls())
    assert ended == failed("the server does not speak HTTP/2: of the protocols offered (ALPN) it chose nothing")


def test_an_expired_certificate_or_one_for_others_fails(authority: Authority) -> None:
    tls, ago = Tls(NAME, verify=True, ca_file=authority.file), timedelta(days=-2)
    with serve(silent, authority.context(ends_in=ago, alpn=("h2",))) as port:
        assert ask(port, tls=tls) == failed(f"the certificate of {NAME} expired on {authority.day(ago)}")
    with serve(silent, authority.context("other.example", alpn=("h2",))) as port:
        assert ask(port, tls=tls) == failed(f"the certificate is for other.example, not for {NAME}")


def test_status_and_body_must_be_right(nginx: Nginx) -> None:
    assert ask(nginx.h2c, Http(http2=True, path="/broken")) == failed("answered 503, not 200-399")
    assert ask(nginx.h2c, Http(http2=True, path="/moved")).cause.startswith("301 in ")
    cause = "'ill' is not in the 12 bytes of the body: b'all is well\\n'"
    assert ask(nginx.h2c, Http(http2=True, body="ill")) == failed(cause)


def test_no_more_than_64_kib_of_a_body_are_looked_at(nginx: Nginx) -> None:
    ended = ask(nginx.h2c, Http(http2=True, path="/big", body="END"))
    assert ended.cause.startswith("'END' is not in the first 65536 bytes of the body: b'BEGIN")
    assert ask(nginx.h2c, Http(http2=True, method="HEAD", path="/big", body="^$")).passed


def test_an_early_hint_is_not_yet_the_answer() -> None:
    def hint(talk: H2Connection, _: RawHeaders) -> None:
        talk.send_headers(1, [(":status", "103")])
        talk.send_headers(1, [(":status", "204")], end_stream=True)

    with serve(answering(hint)) as port:
        assert ask(port).cause.startswith("204 in ")


def test_a_server_that_gives_up_says_why() -> None:
    with serve(answering(lambda talk, _: talk.reset_stream(1, 7))) as port:
        assert ask(port) == failed("the server gave the request up: REFUSED_STREAM")
    with serve(answering(lambda talk, _: talk.close_connection(11))) as port:
        assert ask(port) == failed("the server is going away: ENHANCE_YOUR_CALM")
    with serve(answering(lambda talk, _: talk.close_connection(0, last_stream_id=0))) as port:
        assert ask(port) == failed("the server is going away: NO_ERROR")


OWN = (("Host", "b"), ("user-AGENT", "me"), ("X-Own", "1"))


@pytest.mark.parametrize("tls", [None, Tls()], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "wanted",
    [
        Http(path="/asked", http2=True, body=f"^GET 127.0.0.1 xdplb/{__version__}  "),
        Http(path="/asked", http2=True, body=f"^POST a xdplb/{__version__}  ", host="a", method="POST"),
        Http(path="/asked", http2=True, body="^GET b me 1 ", headers=OWN),
    ],
)
def test_a_request_names_its_host_and_us_and_own_headers_win(nginx: Nginx, wanted: Http, tls: Tls | None) -> None:
    ended = ask(nginx.h2 if tls else nginx.h2c, wanted, tls=tls)
    assert ended.passed, ended.cause


def test_a_server_that_says_goodbye_before_its_answer_is_heard_out(nginx: Nginx) -> None:
    assert ask(nginx.hasty, Http(http2=True, body="^bye$")).passed


def test_what_http2_forbids_is_not_said_and_nothing_is_to_be_pushed() -> None:
    got = []

    def answer(talk: H2Connection, headers: RawHeaders) -> None:
        got.append(([name for name, _ in headers], talk.remote_settings.enable_push))
        talk.send_headers(1, [(":status", "200")], end_stream=True)

    headers = (("Connection", "close"), ("Upgrade", "x"), ("Transfer-Encoding", "x"), ("X-Own", "1"))
    with serve(answering(answer)) as port:
        assert ask(port, Http(http2=True, headers=headers)).passed
    assert got == [([b":scheme", b":method", b":path", b":authority", b"user-agent", b"x-own"], 0)]


@pytest.mark.parametrize("packet_bytes", [576, 1500, 9000])
def test_with_full_size_the_request_fills_a_packet(nginx: Nginx, packet_bytes: int) -> None:
    check, steps = Check(kind=Kind.HTTP, ask=HTTP2, full_size=True), Steps()
    assert asyncio.run(probe(check, target(nginx.h2c, packet_bytes), steps)).passed
    assert next(step.sent for step in steps.steps if step.sent) >= packet_bytes - 40


@pytest.mark.root
def test_a_hole_that_swallows_full_packets_is_told() -> None:
    check = Check(kind=Kind.HTTP, ask=HTTP2, full_size=True, timeout_s=0.2)
    with serve(silent, longest=1400) as port:
        ended = asyncio.run(probe(check, target(port, 1500)))
    assert "(packets of 1500 bytes probably do not get through) did not come within 0.2 s" in ended.cause


@pytest.mark.parametrize("status", ["9" * 5000, "20", "+20", "2000"])
def test_a_status_that_is_none_does_not_pass(status: str) -> None:
    def answer(talk: H2Connection, _: RawHeaders) -> None:
        talk.send_headers(1, [(":status", status)], end_stream=True)

    with serve(answering(answer)) as port:
        assert ask(port) == failed("answered 0, not 200-399")
