"""Single values: what is right is taken, what is wrong names its key, itself and the fix."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xdplb.errors import ConfigError
from xdplb.model import Mode, Protocol
from xdplb.values import (
    choice,
    make_backend,
    parse_address,
    parse_duration,
    parse_listen,
    parse_name,
    parse_place,
    parse_vip,
    unique,
    within,
)


def test_a_backend_without_a_name_is_named_by_its_address() -> None:
    assert make_backend("k", "2001:DB8::1", None, 5).name == "2001:db8::1"
    assert make_backend("k", "10.0.0.1", "b1", 0).weight == 0


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.10:80",
        "192.0.2.10:8000-8999",
        "192.0.2.10:*",
        "192.0.2.0/24:443",
        "[2001:db8::10]:80",
        "[2001:db8::/64]:*",
    ],
)
def test_a_vip_is_printed_as_it_is_written(text: str) -> None:
    assert str(parse_vip("k", text, Protocol.UDP)) == f"{text}/udp"


def test_a_network_of_one_address_is_an_address_and_a_range_of_one_port_a_port() -> None:
    plain = parse_vip("k", "192.0.2.10:80", Protocol.TCP)
    assert parse_vip("k", "192.0.2.10/32:80-80", Protocol.TCP) == plain


@pytest.mark.parametrize("text", ["127.0.0.1:9110", "[::1]:9110", "0.0.0.0:1"])
def test_what_is_listened_on_is_printed_as_it_is_written(text: str) -> None:
    assert str(parse_listen("key", text)) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("2h", 7200), ("90", 90), ("0.5", 0.5), ("1.5m", 90), ("0", 0)]
)
def test_a_duration_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration("k", text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 m", "-1", "1d", "1e3", "10m5s", "inf", "nan", "٣"])
def test_what_is_no_duration_is_told_with_those_that_are(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration("--for", text)
    assert str(caught.value) == f'--for: {text!r} is no duration; write "30s", "10m", "2h", or plain seconds'


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda: parse_address("k", "10.0.0"), "k: '10.0.0' is no IP address; give"),
        (lambda: parse_address("k", "fe80::1%eth0"), "k: 'fe80::1%eth0' is IPv4-mapped or scoped; give a plain"),
        (lambda: parse_name("k", "a/b"), "k: 'a/b' is no name; use letters"),
        (lambda: parse_listen("k", "9110"), "k: '9110' is not an address with a port; give one such as"),
        (lambda: parse_listen("k", "::1:9110"), "k: '::1:9110' is not an address with a port"),
        (lambda: parse_listen("k", "[10.0.0.1]:80"), "k: '[10.0.0.1]:80' is not an address with a port"),
        (lambda: parse_listen("k", "10.0.0.1:0"), "k: 0 is out of range"),
        (lambda: parse_place("k", "a.b"), "k: 'a.b' has a dot, which pins cannot have; use '-' instead"),
        (lambda: within("k", 7, 1, 5), "k: 7 is out of range; give 1 to 5"),
        (lambda: choice(Mode, "k", "fast"), 'k: \'fast\' is not known; give one of "offload", "native"'),
        (lambda: unique("k", "name", ["a", "b", "a"]), "k: two have the name 'a'; each name must be different"),
        (lambda: parse_vip("k", "2001:db8::1:80", Protocol.TCP), "k: '2001:db8::1:80' is not an address with a port"),
        (lambda: parse_vip("k", "192.0.2.10:0", Protocol.TCP), "k: 0 is out of range; give 1 to 65535"),
    ],
)
def test_error_names_key_value_and_fix(wrong: Callable[[], object], error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wrong()
    assert str(caught.value).startswith(error)
