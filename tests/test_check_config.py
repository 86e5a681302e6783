"""Check tables: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest

from xdplb.config import parse_config
from xdplb.errors import ConfigError
from xdplb.health.kinds import Dns, Exec, Grpc, Http, Initial, Kind, Quic, Talk, Through, Tls
from xdplb.model import Check, Service, WhenAllDown

MOVED = ((200, 200), (301, 308))
HEAD = '[balancer]\ninterface = "eth0"\n[[service]]\nname = "web"\nvips = ["192.0.2.10:80"]\n'
OTHER = '[[service]]\nname = "sorry"\nvips = ["192.0.2.11:80"]\nbackends = [{ address = "10.0.0.9" }]\n'


def read(text: str) -> Service:
    return parse_config(HEAD + text).services[0]


def check(text: str) -> Check:
    (found,) = read(f"check = {{ {text} }}").checks
    return found


@pytest.mark.parametrize(
    ("text", "kind", "ask"),
    [
        ('kind = "http"', Kind.HTTP, Http()),
        (
            'kind = "http", status = [200, "301-308"], headers = { A = "b" }',
            Kind.HTTP,
            Http(headers=(("A", "b"),), status=MOVED),
        ),
        ('kind = "grpc", grpc_service = "a.B", host = "h"', Kind.GRPC, Grpc("a.B", "h")),
        ('kind = "tcp", send = "PING\\\\r\\\\n", expect = "PONG"', Kind.TCP, Talk(b"PING\r\n", "PONG")),
        ('kind = "udp", port = 53, send = "\\\\x00a"', Kind.UDP, Talk(b"\0a")),
        ('kind = "dns", port = 53, query = "example.org", query_type = "aaaa"', Kind.DNS, Dns("example.org", "AAAA")),
        ('kind = "exec", command = ["/bin/true", "x"]', Kind.EXEC, Exec(("/bin/true", "x"))),
        ('kind = "quic", port = 443', Kind.QUIC, Quic()),
        ('kind = "icmp"', Kind.ICMP, None),
    ],
)
def test_each_kind_says_what_is_asked(text: str, kind: Kind, ask: object) -> None:
    found = check(text)
    assert (found.kind, found.ask) == (kind, ask)


def test_a_check_of_its_own_way_and_times() -> None:
    found = check('through = "tunnel", kind = "http", fast_interval_s = 0.5, initial = "down", hold_down_s = 400')
    assert (found.through, found.full_size, found.fast_interval_s, found.initial) == (
        Through.TUNNEL,
        True,
        0.5,
        Initial.DOWN,
    )
    assert found.hold_down_max_s == 400
    assert check('kind = "https", ca_file = "/etc/ca.pem", server_name = "a"').tls == Tls("a", True, "/etc/ca.pem")


def test_several_checks_and_how_many_are_needed() -> None:
    two = 'check = [{ kind = "tcp" }, { kind = "icmp" }]\n'
    assert [read(two).checks_needed, read(two + 'checks_needed = "any"').checks_needed] == [2, 1]
    assert read('check = { kind = "none" }').checks == ()


def test_a_fallback_says_what_is_meant() -> None:
    service = read('fallback = "sorry"\n' + OTHER)
    assert (service.when_all_down, service.fallback) == (WhenAllDown.FALLBACK, "sorry")
    assert read('when_all_down = "keep"').when_all_down is WhenAllDown.KEEP


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            'check = { kind = "icmp", port = 1 }',
            'service.web.check.port: means nothing with kind = "icmp"; remove it, or give kind "tcp"',
        ),
        ('check = { through = "tunel" }', "service.web.check.through: 'tunel' is not known"),
        (
            'check = { kind = "exec", through = "tunnel", command = ["/bin/true"] }',
            'service.web.check.through: "tunnel" with kind = "exec"',
        ),
        ('check = { kind = "exec" }', "service.web.check.command: missing"),
        ('check = { kind = "exec", command = ["true"] }', "service.web.check.command: 'true' is no absolute path"),
        ('check = { kind = "udp", port = 53 }', "service.web.check.send: missing"),
        ('check = { kind = "dns", port = 53 }', "service.web.check.query: missing"),
        ('check = { kind = "dns", query = "a" }', "service.web.check.port: missing; say which UDP port"),
        (
            'check = { kind = "dns", port = 53, query = "a..b" }',
            "service.web.check.query: 'a..b' is no name; give one such as",
        ),
        (
            'check = { kind = "dns", port = 53, query = "a", query_type = "B" }',
            "service.web.check.query_type: 'B' is not known; give one of A AAAA",
        ),
        (
            'check = { kind = "quic", port = 443, alpn = [""] }',
            "service.web.check.alpn: '' is no protocol; give names such as",
        ),
        (
            'check = { kind = "udp", port = 53, send = "a", full_size = true }',
            'service.web.check.full_size: means nothing with kind = "udp"; remove it',
        ),
        (
            'check = { kind = "exec", command = ["/bin/true", "\\u0000"] }',
            "service.web.check.command: '\\x00' holds a zero byte",
        ),
        ('check = { kind = "agent" }', "service.web.check.port: missing"),
        ('check = { kind = "http", body = "(" }', "service.web.check.body: '(' is no regular expression"),
        ('check = { kind = "http", status = [99] }', "service.web.check.status: 99 is no status"),
        ('check = { kind = "http", status = ["300-200"] }', "service.web.check.status: '300-200' is no status"),
        ('check = { kind = "http", path = "x" }', "service.web.check.path: 'x' is no path"),
        ('check = { kind = "http", headers = { "a b" = "c" } }', "service.web.check.headers.a b: 'c' cannot be sent"),
        ('check = { kind = "https", verify = true }', "service.web.check.server_name: missing"),
        (
            'check = { kind = "https", ca_file = "x.pem", server_name = "a" }',
            "service.web.check.ca_file: 'x.pem'",
        ),
        (
            'check = { kind = "tls", server_name = "bücher.example" }',
            "service.web.check.server_name: 'bücher.example' is no name; give it as DNS has it",
        ),
        ('check = { kind = "grpc", verify = true }', "service.web.check.verify: means nothing without TLS"),
        ('check = { send = "\\\\q" }', "service.web.check.send: '\\\\q' is not known"),
        ('check = { vip = "192.0.2.10", through = "direct" }', "service.web.check.vip: means nothing with through"),
        (
            'check = { through = "tunnel", vip = "192.0.2.9" }',
            "service.web.check.vip: '192.0.2.9' is no VIP of this service; give one of 192.0.2.10:80",
        ),
        ("check = { fast_interval_s = 3 }", "service.web.check.fast_interval_s: 3.0 is out of range; give 0.01 to 2.0"),
        ("check = []", "service.web.check: the list is empty"),
        ("check = [{}, {}]", "service.web.check.2: is there twice"),
        ("checks_needed = 2", "service.web.checks_needed: 2 is out of range"),
        ('checks_needed = "most"', "service.web.checks_needed: 'most' is not known"),
        ('when_all_down = "fallback"', "service.web.fallback: missing"),
        (
            'when_all_down = "keep"\nfallback = "sorry"\n' + OTHER,
            "service.web.fallback: means nothing with",
        ),
        ('fallback = "nobody"', "service.web.fallback: 'nobody' is no other service; give one of: none yet"),
        ("panic_percent = 101", "service.web.panic_percent: 101.0 is out of range"),
        ('check = [{ kind = "tcp" }, { kind = 5 }]', "service.web.check.2.kind: 5 has the wrong type"),
        ("check = 5", "service.web.check: 5 has the wrong type"),
    ],
)
def test_what_means_nothing_is_said_with_key_value_and_fix(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(error)
