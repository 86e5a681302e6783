"""`[admin]`: what is right, and that what is wrong names key, value and fix."""

from __future__ import annotations

import pytest

from xdplb.config import parse_config
from xdplb.errors import ConfigError
from xdplb.model import Admin, Role

TEXT = """
[balancer]
interface = "eth0"
[[service]]
name = "web"
vips = ["192.0.2.10:80"]
[admin]
"""
FILES = 'certificate = "/a.pem"\nkey = "/a.key"\nclient_ca = "/ca.pem"\n'
TLS = f'{FILES}certificates = {{ "ops.example" = "operate" }}\n'


def parse(text: str) -> Admin:
    return parse_config(TEXT + text).admin


def test_without_a_table_only_root_has_a_role() -> None:
    assert parse("") == Admin()
    assert not any(Admin().users.values())


def test_users_are_names_numbers_and_groups() -> None:
    admin = parse('read = ["monitor", 1001]\noperate = ["@ops"]\nadmin = ["mary"]')
    assert admin.users == {Role.READ: ("monitor", "1001"), Role.OPERATE: ("@ops",), Role.ADMIN: ("mary",)}


@pytest.mark.parametrize("text", ["192.0.2.1:8443", "[::1]:8443", "127.0.0.1:1", "0.0.0.0:65535", "[::]:8443"])
def test_an_address_to_listen_on(text: str) -> None:
    admin = parse(f'listen = "{text}"\n{TLS}')
    host, _, port = text.rpartition(":")
    assert admin.listen == (host.strip("[]"), int(port))
    assert (admin.certificate, admin.certificates) == ("/a.pem", (("ops.example", Role.OPERATE),))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("reed = []", "admin.reed: unknown key; did you mean `read`?"),
        ("read = [1.5]", "has the wrong type"),
        (
            'read = ["a b"]',
            "admin.read: 'a b' is no user to give a role to; give a user's name or number, or \"@group\"",
        ),
        ("operate = [0]", "admin.operate: 0 is no user to give a role to"),
        ('admin = ["root"]', "root may do everything anyway"),
        ('read = ["mary"]\nadmin = ["mary"]', "admin: two have the user 'mary'"),
        ('certificate = "/a.pem"', "admin.certificate: means nothing without admin.listen; add listen = "),
        ('certificates = { "a" = "read" }', "admin.certificates: means nothing without admin.listen"),
        ('listen = "192.0.2.1:8443"', "admin.certificate: missing: with listen, both sides show certificates"),
        (f'listen = "192.0.2.1:8443"\n{FILES}', "admin.certificates: nobody has a role; write { "),
        (f'listen = "192.0.2.1"\n{TLS}', "admin.listen: '192.0.2.1' is no address with a port; write"),
        (f'listen = "lb.example:8443"\n{TLS}', "admin.listen: 'lb.example' is no IP address"),
        (f'listen = "192.0.2.1:0"\n{TLS}', "admin.listen: 0 is out of range; give 1 to 65535"),
        (
            f'listen = "[::1]:1"\n{FILES}certificates = {{ "a" = "write" }}',
            'admin.certificates.a: \'write\' is not known; give one of "read", "operate", "admin"',
        ),
    ],
)
def test_what_is_wrong_names_key_value_and_fix(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert error in str(caught.value)
