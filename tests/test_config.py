"""What a file may say, and that every error names the key, the value and the fix."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from xdplb.config import parse_config, read_config
from xdplb.errors import ConfigError
from xdplb.health.kinds import Through
from xdplb.model import Check, Mode, Protocol, Rate, Vip

HEAD = '[balancer]\ninterface = "eth0"\n'
WEB = '[[service]]\nname = "web"\nvips = ["192.0.2.10:80"]\n'
NONE = 'check = { kind = "none" }\n'
NONE_WEB = WEB + NONE
ONE = 'backends = [{ name = "b1", address = "10.0.0.1"%s }]\n'


def test_quickstart_is_read() -> None:
    config = read_config(Path(__file__).parent.parent / "examples/quickstart.toml")

    assert config.balancer.mode is Mode.NATIVE
    (web,) = config.services
    assert web.vips == (Vip(ip_address("10.9.9.9"), 80), Vip(ip_address("fd00:9::9"), 80))
    assert [b.name for b in web.backends] == ["b1", "b2", "b3"]


def test_what_is_left_out_has_a_documented_value() -> None:
    (web,) = parse_config(HEAD + WEB + 'backends = [{ address = "10.0.0.1" }]').services

    assert web.checks == (Check(port=80, interval_s=2.0, timeout_s=1.0, rise=2, fall=3, through=Through.AUTO),)
    assert (web.backends[0].name, web.backends[0].weight) == ("10.0.0.1", 100)


def test_udp_service_has_no_check_unless_told_which_port() -> None:
    udp = '[[service]]\nname = "dns"\nprotocol = "udp"\nvips = ["192.0.2.10:53"]\n'

    assert parse_config(HEAD + udp).services[0].checks == ()
    assert parse_config(HEAD + udp + "check = { port = 53 }").services[0].checks == (Check(port=53),)


def test_transitions_have_documented_values_and_take_given_ones() -> None:
    given = "learn_window_s = 0\nidle_timeout_s = 60\nslow_start_s = 60\nsecond_chance = true\n"
    udp = '[[service]]\nname = "dns"\nprotocol = "udp"\nvips = ["192.0.2.10:53"]\n'

    config = parse_config(
        HEAD + "max_flows = 64000000\n" + WEB + given + WEB.replace("web", "b").replace("80", "81") + udp
    )

    assert [(s.learn_window_s, s.idle_timeout_s, s.slow_start_s, s.second_chance) for s in config.services] == [
        (0, 60, 60, True),
        (120, 3600, 0, False),
        (120, 300, 0, False),
    ]
    assert config.balancer.max_flows == 64_000_000
    assert parse_config(HEAD + WEB).balancer.max_flows == 1 << 17
    assert [parse_config(HEAD + given + WEB).balancer.evidence_port for given in ("", "evidence_port = 0\n")] == [
        6090,
        0,
    ]


def test_two_protocols_may_share_address_and_port() -> None:
    udp = '[[service]]\nname = "quic"\nprotocol = "udp"\nvips = ["192.0.2.10:80"]\n'

    assert parse_config(HEAD + WEB + udp).services[1].vips[0].protocol is Protocol.UDP


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", 'balancer: the file is empty; start with [balancer] and interface = "eth0"'),
        ("hello", "syntax: is not TOML: Expected '=' after a key"),
        (HEAD, "service: there is none; add a [[service]]"),
        (WEB, "balancer: missing; add it"),
        ("[balancer]\n" + WEB, "balancer.interface: missing; add it"),
        ('[balancer]\ninterface = "a b"\n' + WEB, "balancer.interface: 'a b' is no interface name; see `ip link`"),
        (HEAD + 'mode = "fast"\n' + WEB, "balancer.mode: 'fast' is not known; give one of"),
        (HEAD + 'source4 = "fd00::1"\n' + WEB, "balancer.source4: 'fd00::1' is of the other family; give an IPv4"),
        (HEAD + WEB + "wieght = 3", "service.web.wieght: unknown key; known here: name, vips"),
        (
            HEAD + WEB + 'backends = [{ adress = "10.0.0.1" }]',
            "service.web.backends.1.adress: unknown key; did you mean",
        ),
        (HEAD + WEB + 'backends = [{ address = "10.0.0" }]', "'10.0.0' is no IP address; give an IPv4 or IPv6 address"),
        (HEAD + WEB + 'backends = [{ address = "127.0.0.1" }]', "'127.0.0.1' is not the address of one host"),
        (HEAD + WEB + 'backends = [{ address = "::ffff:10.0.0.1" }]', "is IPv4-mapped or scoped"),
        (HEAD + WEB + ONE % ", weight = -1", "service.web.backends.b1.weight: -1 is out of range; give 0 to 65535"),
        (HEAD + WEB + ONE % ", weight = 1000000000", "backends.b1.weight: 1000000000 is out of range; give 0 to 65535"),
        (HEAD + WEB + ONE % ", weight = 1e9", "backends.b1.weight: 1000000000"),
        (
            HEAD + WEB + ONE % ', weight = "heavy"',
            "service.web.backends.b1.weight: 'heavy' has the wrong type; give a whole",
        ),
        (HEAD + WEB + 'backends = "b1"', "service.web.backends: 'b1' has the wrong type; give a list"),
        (HEAD + WEB + WEB, "service: two have the name 'web'; each name must be different"),
        (HEAD + WEB + WEB.replace("web", "b"), "service.b.vips: 192.0.2.10:80/tcp: service 'web' has it already"),
        (HEAD + WEB.replace(":80", ""), "service.web.vips: '192.0.2.10' is not an address with a port; write"),
        (HEAD + WEB.replace(":80", ":70000"), "service.web.vips: 70000 is out of range; give 1 to 65535"),
        (HEAD + WEB.replace("192.0.2.10", "2001:db8::1"), 'write "192.0.2.10:80" or "[2001:db8::10]:80"'),
        (HEAD + WEB.replace('["192.0.2.10:80"]', "[]"), "service.web.vips: there is none"),
        (HEAD + WEB.replace('"web"', '"w/b"'), "'w/b' is no name; use letters, digits"),
        (HEAD + WEB + 'backends = [{ address = "192.0.2.10" }]', "192.0.2.10 is a VIP; give the backend's own address"),
        (
            HEAD + WEB + 'backends = [{ address = "10.0.0.1" }, { address = "10.0.0.1", name = "x" }]',
            "two have the address",
        ),
        (HEAD + WEB + 'check = { kind = "ping" }', "service.web.check.kind: 'ping' is not known"),
        (HEAD + WEB + "check = { interval_s = 0 }", "service.web.check.interval_s: 0.0 is out of range"),
        (HEAD + WEB + "check = { rise = 1.5 }", "service.web.check.rise: 1.5 has the wrong type; give a whole number"),
        (HEAD + WEB + "ring_size = 1000", "service.web.ring_size: 1000 is no power of two; give 1024"),
        (HEAD + WEB + "ring_size = 0", "service.web.ring_size: 0 is out of range"),
        (HEAD + WEB.replace(":80", ":90-80"), "the range of ports is upside down; give 80-90"),
        (HEAD + WEB.replace("192.0.2.10", "192.0.2.10/24"), 'has bits set behind its prefix; give "192.0.2.0/24"'),
        (HEAD + WEB.replace("192.0.2.10", "0.0.0.0/1"), "is not the address of one host"),
        (HEAD + WEB.replace("192.0.2.10", "64.0.0.0/4"), "is larger than a /8"),
        (
            HEAD + WEB.replace("192.0.2.10", "192.0.2.0/24") + WEB.replace("web", "b").replace("2.10", "2.0/25"),
            "192.0.2.0/25 of service 'b' overlaps 192.0.2.0/24 of service 'web'; give networks that are equal or apart",
        ),
        (
            HEAD + (WEB + NONE).replace(":80", ":80-90") + (WEB + NONE).replace("web", "b").replace(":80", ":90-99"),
            "service.b.vips: 192.0.2.10:90-99/tcp overlaps 192.0.2.10:80-90/tcp of service 'web'",
        ),
        (
            HEAD + WEB.replace("192.0.2.10", "10.0.0.0/8") + 'backends = [{ address = "10.0.0.1" }]',
            "10.0.0.1 is a VIP; give the backend's own address",
        ),
        (
            HEAD + (WEB + NONE).replace(":80", ":85-90") + (WEB + NONE).replace("web", "b").replace(":80", ":1-99"),
            "service.b.vips: 192.0.2.10:1-99/tcp overlaps 192.0.2.10:85-90/tcp of service 'web'",
        ),
        (HEAD + WEB.replace("192.0.2.10", "[::f000:0:0/84]"), "'[::f000:0:0/84]:80' holds the IPv4-mapped addresses"),
        (HEAD + WEB + 'protocol = "any"', "'192.0.2.10:80' has a port, but protocol is \"any\"; leave the port away"),
        (HEAD + WEB + 'forward = "nat"', 'service.web.forward: \'nat\' is not known; give one of "ipip", "gue", "l2"'),
        (
            HEAD + WEB + 'forward = "local"\n' + ONE % "",
            'web.backends: a service with forward = "local" has none',
        ),
        (HEAD + WEB + "gue_port = 0", "service.web.gue_port: 0 is out of range"),
        (HEAD + WEB + "affinity_prefix4 = 33", "service.web.affinity_prefix4: 33 is out of range; give 1 to 32"),
        (HEAD + WEB + "limits = {}", "service.web.limits: limits nothing; give packets_per_s"),
        (HEAD + WEB + "limits = { packets_burst = 5 }", "packets_burst: 5 without a rate; give packets_per_s, too"),
        (HEAD + WEB + "limits = { packets_per_s = 0 }", "service.web.limits.packets_per_s: 0.0 is out of range"),
        (
            HEAD + WEB + "limits = { packets_per_s = 1, packets_burst = 1000000 }",
            "service.web.limits.packets_burst: 1000000 is out of range; give 1 to 14400",
        ),
        (
            HEAD + WEB + "limits = { packet_per_s = 1 }",
            "packet_per_s: unknown key; did you mean `packets_per_s`?",
        ),
        (HEAD + "mtu = 500\n" + WEB, "balancer.mtu: 500 is out of range; give 596 to 65535"),
        (HEAD + 'source4 = "10.0.0.0/8"\n' + WEB, "has more than a million addresses; give a prefix of /12 or longer"),
        (HEAD + "max_flows = 8191\n" + WEB, "balancer.max_flows: 8191 is out of range; give 8192 to 64000000"),
        (HEAD + "evidence_port = 65536\n" + WEB, "balancer.evidence_port: 65536 is out of range; give 0 to 65535"),
        (HEAD + "max_flows = 64000001\n" + WEB, "balancer.max_flows: 64000001 is out of range"),
        (HEAD + WEB + "learn_window_s = -1", "service.web.learn_window_s: -1.0 is out of range; give 0 to 3600"),
        (HEAD + WEB + "learn_window_s = nan", "service.web.learn_window_s: nan is out of range"),
        (HEAD + WEB + "idle_timeout_s = 9", "service.web.idle_timeout_s: 9.0 is out of range; give 60 to 7200"),
        (HEAD + WEB + "idle_timeout_s = 7201", "service.web.idle_timeout_s: 7201.0 is out of range"),
        (HEAD + WEB + "slow_start_s = 3601", "service.web.slow_start_s: 3601.0 is out of range; give 0 to 3600"),
        (HEAD + WEB + 'slow_start_s = "1m"', "service.web.slow_start_s: '1m' has the wrong type; give a number"),
        (HEAD + WEB + "second_chance = 1", "service.web.second_chance: 1 has the wrong type; give true or false"),
        (
            HEAD + WEB + 'forward = "l2"\nsecond_chance = true',
            'service.web.second_chance: true with forward = "l2"; give forward = "ipip" or "gue", or remove it',
        ),
        (
            HEAD + WEB + 'protocol = "udp"\nsecond_chance = true',
            'service.web.second_chance: true with protocol = "udp"; only TCP services can have it: remove it',
        ),
        ("[balancer]\ninterface = []\n" + WEB, "balancer.interface: there is none"),
        ('[balancer]\ninterface = ["eth0", "eth0"]\n' + WEB, "balancer.interface: two have the name 'eth0'"),
        (HEAD + WEB + "[metrics]\nport = 9110", "metrics.port: unknown key; known here: listen"),
        (HEAD + WEB + "[metrics]\nlisten = 9110", "metrics.listen: 9110 has the wrong type; give a text in quotes"),
        (HEAD + WEB + '[metrics]\nlisten = "lo:9110"', "metrics.listen: 'lo:9110' is not an address with a port"),
        (HEAD + WEB + '[guard]\nblok = ["10.0.0.0/8"]', "guard.blok: unknown key; did you mean `block`?"),
        (
            HEAD + NONE_WEB.replace('["192.0.2.10:80"]', str([f"192.0.2.10:{n}-{n + 1}" for n in range(100, 149, 3)])),
            "192.0.2.10 has more than 16 ranges of tcp ports; join ranges, or give single ports",
        ),
    ],
)
def test_error_names_key_value_and_fix(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", "directory"])
def test_unreadable_file_is_a_plain_error(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "x.toml"
    if content == "directory":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.toml"):
        read_config(path)


def test_vips_of_every_kind() -> None:
    vips = ["192.0.2.10:80", "192.0.2.10:8000-8999", "192.0.2.11:*", "192.0.2.128/25:443", "[2001:db8::/64]:443"]
    service = parse_config(HEAD + NONE_WEB.replace('["192.0.2.10:80"]', str(vips))).services[0]

    assert [str(vip) for vip in service.vips] == [f"{text}/tcp" for text in vips]


def test_an_address_inside_a_network_may_be_a_vip_of_another_service() -> None:
    inside = WEB.replace("web", "b").replace("192.0.2.10", "192.0.2.0/24")

    assert len(parse_config(HEAD + WEB + inside).services) == 2


def test_limits_take_up_to_a_second_at_once_unless_told() -> None:
    text = HEAD + WEB + "limits = { packets_per_s = 500, connections_per_s = 0.5, connections_burst = 9 }"

    limits = parse_config(text).services[0].limits

    assert limits is not None
    assert (limits.packets, limits.connections) == (Rate(500, 500), Rate(0.5, 9))
    assert limits.service_connections is None
