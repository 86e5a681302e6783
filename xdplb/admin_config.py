"""The `[admin]` table: its shape, and what it means as `model.Admin`. Errors name key, value and fix."""

from __future__ import annotations

import re

import msgspec

from xdplb.errors import ConfigError
from xdplb.model import Admin, Role
from xdplb.values import choice, parse_address, unique, within

_TLS = ("certificate", "key", "client_ca")
_USER = re.compile(r"@?[0-9]{1,10}|@?[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_LISTEN = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")


class AdminTable(msgspec.Struct, forbid_unknown_fields=True):
    """`[admin]`."""

    read: list[str | int] = msgspec.field(default_factory=list)
    operate: list[str | int] = msgspec.field(default_factory=list)
    admin: list[str | int] = msgspec.field(default_factory=list)
    listen: str | None = None
    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    certificates: dict[str, str] = msgspec.field(default_factory=dict)


def parse_admin(table: AdminTable) -> Admin:
    """Return who may use the API, and how it is reached. Raises ConfigError."""
    users = {role: _users(role, getattr(table, role)) for role in Role}
    unique("admin", "user", (user for role in Role for user in users[role]))
    files = {name: getattr(table, name) for name in _TLS}
    if table.listen is None:
        _nothing_for_tls({**files, "certificates": table.certificates or None})
    for name, path in files.items():
        if table.listen is not None and not path:
            problem = "missing: with listen, both sides show certificates"
            raise ConfigError(f"admin.{name}", problem, "name a file in PEM, or remove admin.listen")
    if table.listen is not None and not table.certificates:
        raise ConfigError("admin.certificates", "nobody has a role", 'write { "ops.example" = "operate" }')
    return Admin(
        read=users[Role.READ],
        operate=users[Role.OPERATE],
        admin=users[Role.ADMIN],
        listen=None if table.listen is None else _listen(table.listen),
        **files,
        certificates=tuple((n, choice(Role, f"admin.certificates.{n}", r)) for n, r in table.certificates.items()),
    )


def _users(role: Role, given: list[str | int]) -> tuple[str, ...]:
    for user in given:
        if not _USER.fullmatch(str(user)) or str(user) in ("0", "root"):
            fix = 'give a user\'s name or number, or "@group"; root may do everything anyway'
            raise ConfigError(f"admin.{role}", f"{user!r} is no user to give a role to", fix)
    return tuple(str(user) for user in given)


def _nothing_for_tls(given: dict[str, object]) -> None:
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"admin.{name}", "means nothing without admin.listen", 'add listen = "192.0.2.1:8443"')


def _listen(text: str) -> tuple[str, int]:
    """Return address and port of `10.0.0.1:8443` or `[::1]:8443`; the loopback and `0.0.0.0` are fine here."""
    split = _LISTEN.fullmatch(text)
    if split is None:
        raise ConfigError(
            "admin.listen", f"{text!r} is no address with a port", 'write "192.0.2.1:8443" or "[::1]:8443"'
        )
    host = split[1] or split[2]
    if host not in ("0.0.0.0", "::", "::1") and not host.startswith("127."):
        parse_address("admin.listen", host)
    return host, int(within("admin.listen", int(split[3]), 1, 65535))
