"""The `grpc` check against grpcio with its health service, and against servers that are something else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from h2.connection import H2Connection

from tests.rig.servers import (
    HOST,
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
from xdplb.health.check import ProbeEnded
from xdplb.health.grpc import fault, request, serving_status
from xdplb.health.kinds import Grpc, Kind, Tls
from xdplb.health.probe import Steps, probe
from xdplb.model import Check

Status = health_pb2.HealthCheckResponse


@dataclass(frozen=True)
class Ports:
    plain: int
    tls: int
    without_health: int


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[Ports]:
    """gRPC servers: "" and `good` serve, `bad` does not, `gone` is not known; and one without the health service."""
    service = health.HealthServicer()
    for name, status in (("good", Status.SERVING), ("bad", Status.NOT_SERVING), ("gone", Status.SERVICE_UNKNOWN)):
        service.set(name, status)
    with ThreadPoolExecutor(2) as pool:
        server, other = grpc.server(pool), grpc.server(pool)
        health_pb2_grpc.add_HealthServicer_to_server(service, server)
        leaf = authority.issue(NAME)
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        credentials = grpc.ssl_server_credentials([(leaf.private_key_pem.bytes(), chain)])
        ports = Ports(
            server.add_insecure_port(f"{HOST}:0"),
            server.add_secure_port(f"{HOST}:0", credentials),
            other.add_insecure_port(f"{HOST}:0"),
        )
        server.start()
        other.start()
        yield ports
        server.stop(0).wait()
        other.stop(0).wait()


def ask(port: int, service: str = "", timeout_s: float = 1.0, tls: Tls | None = None) -> ProbeEnded:
    check = Check(port, kind=Kind.GRPC, ask=Grpc(service), tls=tls, timeout_s=timeout_s)
    ended = asyncio.run(probe(check, target(port)))
    prefix = f"grpc 127.0.0.1:{port}: "
    assert ended.cause.startswith(prefix)
    return ProbeEnded(ended.passed, ended.cause.removeprefix(prefix), ended.warning)


def failed(cause: str) -> ProbeEnded:
    return ProbeEnded(False, cause)


def test_what_serves_passes_with_and_without_tls(servers: Ports, authority: Authority) -> None:
    tls = Tls(NAME, verify=True, ca_file=authority.file)
    for ended in (ask(servers.plain), ask(servers.plain, "good"), ask(servers.tls, "good", tls=tls)):
        assert ended.passed
        assert ended.cause.startswith("SERVING in ")


def test_a_call_is_what_the_protocol_asks_for() -> None:
    got: list[dict[bytes, bytes]] = []

    def answer(talk: H2Connection, headers: RawHeaders) -> None:
        got.append(dict(headers))
        ok = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")]
        talk.send_headers(1, ok, end_stream=True)

    with serve(answering(answer)) as port:
        check = Check(port, kind=Kind.GRPC, ask=Grpc(host="a.example"), timeout_s=0.5)
        assert asyncio.run(probe(check, target(port))).cause.endswith("grpc-status NOT_FOUND")
    assert got[0].pop(b"user-agent").startswith(b"xdplb/")
    assert got == [
        {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": b"/grpc.health.v1.Health/Check",
            b":authority": b"a.example",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
            b"grpc-timeout": b"500m",
        }
    ]


def test_a_certificate_that_ends_soon_is_a_warning(servers: Ports) -> None:
    assert ask(servers.tls, tls=Tls(NAME, expiry_days=91)).warning.endswith("in 89 days")


def test_what_does_not_serve_fails_by_its_name(servers: Ports) -> None:
    assert ask(servers.plain, "bad") == failed("NOT_SERVING")
    assert ask(servers.plain, "gone") == failed("SERVICE_UNKNOWN")


def test_what_the_server_refuses_fails_by_its_name(servers: Ports) -> None:
    assert ask(servers.plain, "nobody") == failed("grpc-status NOT_FOUND")
    assert ask(servers.without_health) == failed("grpc-status UNIMPLEMENTED: Method not found!")


def test_refused_blackholed_silent_and_late_servers_fail() -> None:
    assert ask(closed_port()) == failed("refused")
    with black_hole() as port:
        assert ask(port, timeout_s=0.1) == failed("a connection did not come within 0.1 s")
    for handle in (silent, slow(b"\0\0\0\4\0\0\0\0\0")):
        with serve(handle) as port:
            assert ask(port, timeout_s=0.1) == failed("the head of an answer did not come within 0.1 s")


def test_a_server_that_closes_in_the_middle_fails() -> None:
    with serve(says(b"\0\0\0\4\0\0\0\0\0")) as port:
        assert ask(port) == failed("the server closed the connection before the head of an answer")


def test_what_is_not_grpc_fails(nginx: Nginx) -> None:
    assert ask(nginx.h2c) == failed("the answer is not gRPC: status 404, content-type 'text/html'")
    assert ask(nginx.http).cause.startswith("the answer is not HTTP/2: b'HTTP/1.1 400 Bad Request")


def test_tls_that_is_not_good_fails(servers: Ports, authority: Authority) -> None:
    tls, ago = Tls(NAME, verify=True, ca_file=authority.file), timedelta(days=-2)
    other = Tls("other.example", verify=True, ca_file=authority.file)
    assert ask(servers.tls, tls=other) == failed(f"the certificate is for {NAME}, not for other.example")
    assert ask(servers.plain, tls=tls, timeout_s=0.5).passed is False
    with serve(silent, authority.context(ends_in=ago, alpn=("h2",))) as port:
        assert ask(port, tls=tls) == failed(f"the certificate of {NAME} expired on {authority.day(ago)}")


@pytest.mark.parametrize("packet_bytes", [576, 1500, 9000])
def test_with_full_size_the_call_fills_a_packet(servers: Ports, packet_bytes: int) -> None:
    check, steps = Check(kind=Kind.GRPC, ask=Grpc("good"), full_size=True), Steps()
    assert asyncio.run(probe(check, target(servers.plain, packet_bytes), steps)).passed
    assert next(step.sent for step in steps.steps if step.sent) >= packet_bytes - 40


@pytest.mark.parametrize(("service", "full"), [("", 0), ("good", 0), ("a.B" * 100, 0), ("good", 1448), ("", 9000)])
def test_a_request_is_what_protobuf_reads(service: str, full: int) -> None:
    found = request(service, full)
    message = health_pb2.HealthCheckRequest.FromString(found[5:])
    assert message.service == service
    assert int.from_bytes(found[1:5], "big") == len(found) - 5 >= full


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4, 300])
def test_an_answer_is_what_protobuf_writes(status: int) -> None:
    message = Status(status=status).SerializeToString()
    assert serving_status(bytes((0, 0, 0, 0, len(message))) + message) == status
    later = message + bytes.fromhex("7a036162631001")  # fields that a later version may have
    assert serving_status(bytes((0, 0, 0, 0, len(later))) + later) == status


@pytest.mark.parametrize(
    "text", ["", "00000000", "0000000002", "01000000020801", "00000000020801ff", "0000000001ff", "00000000010d"]
)
def test_an_answer_that_is_none_is_none(text: str) -> None:
    assert serving_status(bytes.fromhex(text)) is None


@pytest.mark.parametrize(
    ("trailers", "body", "cause"),
    [
        ({}, b"", "grpc-status is missing"),
        ({b"grpc-status": b"14", b"grpc-message": b"%C3%BCberlastet"}, b"", "grpc-status UNAVAILABLE: überlastet"),
        ({b"grpc-status": b"99"}, b"", "grpc-status 99"),
        ({b"grpc-status": b"0"}, b"", "the answer holds no HealthCheckResponse"),
        ({b"grpc-status": b"0"}, b"\0\0\0\0\0", "UNKNOWN"),
        ({b"grpc-status": b"0"}, b"\0\0\0\0\2\x08\x09", "status 9 of grpc.health.v1"),
        ({b"grpc-status": b"0"}, b"\0\0\0\0\2\x08\x01", ""),
    ],
)
def test_every_end_has_its_words(trailers: dict[bytes, bytes], body: bytes, cause: str) -> None:
    assert fault({b":status": b"200", b"content-type": b"application/grpc+proto"}, trailers, body) == cause


@pytest.mark.parametrize("message", [b"\x08" + b"\x80" * 10 + b"\x01", b"\x80" * 65000 + b"\x01"])
def test_no_number_has_more_than_ten_bytes(message: bytes) -> None:
    assert serving_status(b"\0" + len(message).to_bytes(4) + message) is None
    ten = b"\x08" + b"\x81" + b"\x80" * 8 + b"\0"
    assert serving_status(b"\0" + len(ten).to_bytes(4) + ten) == 1


@pytest.mark.parametrize("code", ["²", "9" * 5000])  # int() takes neither
def test_a_code_that_is_no_number_is_told(code: str) -> None:
    head = {b":status": b"200", b"content-type": b"application/grpc", b"grpc-status": code.encode()}
    assert fault(head, {}, b"") == f"grpc-status {code}"
