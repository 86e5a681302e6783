"""The `check` tables of a service: their shape, and what they mean as `model.Check`. Errors name key, value and fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec
import regex

from xdplb.errors import ConfigError
from xdplb.health.kinds import Ask, Dns, Exec, Grpc, Http, Initial, Kind, Quic, Talk, Through, Tls
from xdplb.model import Check, Protocol, Vip
from xdplb.values import choice, within

LONGEST_S = 100  # of a probe: the row of a backend that has gone is another's two minutes later (dataplane/probes.py)


class CheckTable(msgspec.Struct, forbid_unknown_fields=True):
    """`check` of a service, or one of several."""

    kind: str = "tcp"
    through: str | None = None
    vip: str | None = None
    port: int | None = None
    interval_s: float = 2.0
    fast_interval_s: float | None = None
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 3
    initial: str = "probe"
    hold_down_s: float = 10.0
    hold_down_max_s: float = 300.0
    full_size: bool | None = None
    tls: bool | None = None
    server_name: str | None = None
    verify: bool | None = None
    ca_file: str | None = None
    expiry_days: float | None = None
    method: str | None = None
    path: str | None = None
    host: str | None = None
    headers: dict[str, str] | None = None
    status: list[int | str] | None = None
    body: str | None = None
    http2: bool | None = None
    grpc_service: str | None = None
    send: str | None = None
    expect: str | None = None
    query: str | None = None
    query_type: str | None = None
    command: list[str] | None = None
    user: str | None = None
    alpn: list[str] | None = None


_TLS_KEYS = ("server_name", "verify", "ca_file", "expiry_days")
_HTTP_KEYS = ("method", "path", "host", "headers", "status", "body", "http2")
KEYS: dict[Kind, tuple[str, ...]] = {  # which keys a kind has, besides those that all have
    Kind.TCP: ("port", "send", "expect"),
    Kind.TLS: ("port", *_TLS_KEYS),
    Kind.HTTP: ("port", "full_size", *_HTTP_KEYS),
    Kind.HTTPS: ("port", "full_size", *_HTTP_KEYS, *_TLS_KEYS),
    Kind.GRPC: ("port", "full_size", "grpc_service", "host", "tls", *_TLS_KEYS),
    Kind.UDP: ("port", "send", "expect"),
    Kind.DNS: ("port", "full_size", "query", "query_type", "expect"),
    Kind.ICMP: ("full_size",),
    Kind.QUIC: ("port", "full_size", "alpn", *_TLS_KEYS),
    Kind.EXEC: ("port", "command", "user"),
    Kind.AGENT: ("port", "send"),
}
DNS_TYPES = "A AAAA CAA CNAME DNSKEY DS HTTPS MX NAPTR NS PTR SOA SRV SVCB TLSA TXT"  # that a server has records of
_DNS_NAME = re.compile(r"\.|(?=.{1,254}$)(?:[\x21-\x2d\x2f-\x5b\x5d-\x7e]{1,63}(?:\.|$))+")
_ALWAYS = {"kind", "through", "vip", "interval_s", "fast_interval_s", "timeout_s", "rise", "fall", "initial"}
_ALWAYS |= {"hold_down_s", "hold_down_max_s"}
ONLY_DIRECT = {Kind.EXEC, Kind.AGENT}  # these ask about a backend, not the VIP
_OF_PROTOCOL = {Kind.UDP: Protocol.UDP, Kind.DNS: Protocol.UDP, Kind.QUIC: Protocol.UDP}  # whose VIP's port is meant


def parse_checks(key: str, tables: CheckTable | Sequence[CheckTable] | None, own: Sequence[Vip]) -> tuple[Check, ...]:
    """Return a service's checks; without any, TCP services get one of TCP. Raises ConfigError."""
    if tables is None:
        return (_check(key, CheckTable(), own),) if own[0].protocol is Protocol.TCP else ()
    if isinstance(tables, CheckTable):
        return () if tables.kind == "none" else (_check(key, tables, own),)
    if not tables:
        raise ConfigError(key, "the list is empty", 'give at least one table, or { kind = "none" }')
    checks = tuple(_check(f"{key}.{number}", table, own) for number, table in enumerate(tables, 1))
    for number, check in enumerate(checks, 1):
        if check in checks[: number - 1]:
            raise ConfigError(f"{key}.{number}", "is there twice", "remove one of the two")
    return checks


def parse_needed(key: str, needed: str | int, checks: Sequence[Check]) -> int:
    """Return how many checks must pass. Raises ConfigError."""
    if needed == "all":
        return len(checks)
    if needed == "any":
        return min(1, len(checks))
    if isinstance(needed, str):
        raise ConfigError(key, f"{needed!r} is not known", 'give "all", "any", or a number')
    return int(within(key, needed, 1, max(1, len(checks))))


def _check(key: str, table: CheckTable, own: Sequence[Vip]) -> Check:
    kind = choice(Kind, f"{key}.kind", table.kind)
    _only_keys_of(key, kind, table)
    through = _through(f"{key}.through", kind, table)
    vip = _vip(f"{key}.vip", table, through, own)
    hold = within(f"{key}.hold_down_s", table.hold_down_s, 0, 3600)
    return Check(
        _port(f"{key}.port", kind, table, own, through, vip),
        within(f"{key}.interval_s", table.interval_s, 0.01, 3600),
        within(f"{key}.timeout_s", table.timeout_s, 0.01, LONGEST_S),
        int(within(f"{key}.rise", table.rise, 1, 1000)),
        int(within(f"{key}.fall", table.fall, 1, 1000)),
        kind,
        through,
        vip,
        _ask(key, kind, table),
        _tls(key, kind, table),
        through is not Through.DIRECT and "full_size" in KEYS[kind] and table.full_size is not False,
        None
        if table.fast_interval_s is None
        else within(f"{key}.fast_interval_s", table.fast_interval_s, 0.01, table.interval_s),
        choice(Initial, f"{key}.initial", table.initial),
        hold,
        within(f"{key}.hold_down_max_s", max(table.hold_down_max_s, hold), 0, 86400),
    )


def _only_keys_of(key: str, kind: Kind, table: CheckTable) -> None:
    """A key that means nothing here is a mistake, not something to pass over."""
    for name in CheckTable.__struct_fields__:
        if name in _ALWAYS or name in KEYS[kind] or getattr(table, name) is None:
            continue
        owners = ", ".join(f'"{other}"' for other, names in KEYS.items() if name in names)
        raise ConfigError(f"{key}.{name}", f'means nothing with kind = "{kind}"', f"remove it, or give kind {owners}")


def _through(key: str, kind: Kind, table: CheckTable) -> Through:
    if table.through is None:  # another port than the VIP's is seldom the VIP's business
        return Through.DIRECT if kind in ONLY_DIRECT or table.port is not None else Through.AUTO
    through = choice(Through, key, table.through)
    if through is not Through.DIRECT and kind in ONLY_DIRECT:
        raise ConfigError(key, f'"{through}" with kind = "{kind}"', 'give "direct", or remove it')
    return through


def _vip(key: str, table: CheckTable, through: Through, own: Sequence[Vip]) -> Vip | None:
    if table.vip is None:
        return None
    if through is Through.DIRECT:
        raise ConfigError(key, 'means nothing with through = "direct"', "remove it")
    for vip in own:
        if table.vip == str(vip).rpartition("/")[0] or table.vip == str(vip.address):
            return vip
    known = ", ".join(str(vip).rpartition("/")[0] for vip in own)
    raise ConfigError(key, f"{table.vip!r} is no VIP of this service", f"give one of {known}")


def _port(key: str, kind: Kind, table: CheckTable, own: Sequence[Vip], through: Through, vip: Vip | None) -> int:
    """Return where to ask; 0: kinds without ports, or each VIP's own."""
    if "port" not in KEYS[kind]:
        return 0
    if table.port is not None:
        return int(within(key, table.port, 1, 65535))
    if kind is Kind.EXEC:
        return own[0].port
    vips = [vip] if vip else list(own)
    ports = {vip.port for vip in vips}
    wanted = _OF_PROTOCOL.get(kind, Protocol.TCP)
    unclear = any(v.last_port or v.protocol is not wanted for v in vips) or kind is Kind.AGENT
    if len(ports) > 1 and not unclear and through is not Through.DIRECT:
        return 0  # each VIP's own
    if unclear or len(ports) > 1:
        name = "UDP" if wanted is Protocol.UDP else "TCP"
        raise ConfigError(key, "missing", f"say which {name} port of the backends to probe")
    return vips[0].port


def _tls(key: str, kind: Kind, table: CheckTable) -> Tls | None:
    if "verify" not in KEYS[kind] or (kind is Kind.GRPC and not table.tls):
        for name in _TLS_KEYS if kind is Kind.GRPC else ():
            if getattr(table, name) is not None:
                raise ConfigError(f"{key}.{name}", "means nothing without TLS", "add tls = true, or remove it")
        return None
    verify = bool(table.verify) or table.ca_file is not None
    if table.verify is False and table.ca_file is not None:
        raise ConfigError(f"{key}.ca_file", "means nothing with verify = false", "remove one of the two")
    if verify and table.server_name is None:
        raise ConfigError(f"{key}.server_name", "missing", "say which name must be on the certificate")
    if table.server_name is not None and not re.fullmatch(r"[\x21-\x7e]{1,253}", table.server_name):
        raise ConfigError(f"{key}.server_name", f"{table.server_name!r} is no name", "give it as DNS has it, in ASCII")
    if table.ca_file is not None:
        _absolute(f"{key}.ca_file", table.ca_file)
    days = table.expiry_days if table.expiry_days is not None else Tls().expiry_days
    return Tls(table.server_name, verify, table.ca_file, within(f"{key}.expiry_days", days, 0, 3650))


def _ask(key: str, kind: Kind, table: CheckTable) -> Ask:
    match kind:
        case Kind.HTTP | Kind.HTTPS:
            return _http(key, table)
        case Kind.GRPC:
            return Grpc(table.grpc_service or "", _host(f"{key}.host", table.host))
        case Kind.TCP | Kind.UDP:
            return _talk(key, kind, table)
        case Kind.DNS:
            return _dns(key, table)
        case Kind.EXEC:
            return _exec(key, table)
        case Kind.QUIC:
            return _quic(key, table)
        case Kind.AGENT:
            return Talk(_bytes(f"{key}.send", table.send or ""))
    return None


def _http(key: str, table: CheckTable) -> Http:
    path = table.path if table.path is not None else "/"
    if not re.fullmatch(r"/[\x21-\x7e]*", path):
        raise ConfigError(f"{key}.path", f"{path!r} is no path", 'give one that begins with "/" and has no spaces')
    method = table.method or "GET"
    if not re.fullmatch(r"[A-Z]{1,16}", method):
        raise ConfigError(f"{key}.method", f"{method!r} is no method", 'give one such as "GET" or "HEAD"')
    headers = tuple((table.headers or {}).items())
    for name, value in headers:
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise ConfigError(f"{key}.headers.{name}", f"{value!r} cannot be sent", "give a name and value of HTTP")
    status = tuple(_status(f"{key}.status", text) for text in table.status) if table.status else Http().status
    host, body = _host(f"{key}.host", table.host), _regex(f"{key}.body", table.body)
    return Http(method, path, host, headers, status, body, bool(table.http2))


def _host(key: str, text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", text):
        raise ConfigError(key, f"{text!r} is no host", 'give one such as "www.example.org"')
    return text


def _status(key: str, text: int | str) -> tuple[int, int]:
    split = re.fullmatch(r"([1-5]\d\d)(?:-([1-5]\d\d))?", str(text))
    if split is None or int(split[2] or split[1]) < int(split[1]):
        raise ConfigError(key, f"{text!r} is no status", 'give 200, or a range such as "200-299"')
    return int(split[1]), int(split[2] or split[1])


def _talk(key: str, kind: Kind, table: CheckTable) -> Talk | None:
    if kind is Kind.UDP and not table.send:
        raise ConfigError(f"{key}.send", "missing", "say what to send: who gets nothing over UDP answers nothing")
    if table.send is None and table.expect is None:
        return None
    return Talk(_bytes(f"{key}.send", table.send or ""), _regex(f"{key}.expect", table.expect, of_bytes=True))


def _bytes(key: str, text: str) -> bytes:
    r"""Return what is sent: a text, in which `\xNN`, `\r`, `\n`, `\t`, `\0` and `\\` stand for bytes."""
    plain = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}
    found = b""
    for part in re.findall(r"\\x[0-9a-fA-F]{2}|\\.?|[^\\]+", text, re.S):
        if part.startswith("\\x") and len(part) == 4:
            found += bytes.fromhex(part[2:])
        elif part.startswith("\\"):
            if part[1:] not in plain:
                raise ConfigError(key, f"{part!r} is not known", r"write \xNN, \r, \n, \t, \0 or \\")
            found += plain[part[1:]]
        else:
            found += part.encode()
    return found


def _regex(key: str, text: str | None, of_bytes: bool = False) -> str | None:
    if text is not None:
        try:
            regex.compile(text.encode()) if of_bytes else regex.compile(text)  # as health/expect.py does
        except regex.error as error:
            raise ConfigError(key, f"{text!r} is no regular expression ({error})", "mend it, or escape it") from None
    return text


def _dns(key: str, table: CheckTable) -> Dns:
    if not table.query:
        raise ConfigError(f"{key}.query", "missing", 'say which name to ask for, such as "example.org"')
    if not _DNS_NAME.fullmatch(table.query):
        raise ConfigError(f"{key}.query", f"{table.query!r} is no name", 'give one such as "example.org", or "."')
    kind = (table.query_type or "A").upper()
    if kind not in DNS_TYPES.split():
        raise ConfigError(f"{key}.query_type", f"{kind!r} is not known", f"give one of {DNS_TYPES}")
    return Dns(table.query, kind, _regex(f"{key}.expect", table.expect))


def _quic(key: str, table: CheckTable) -> Quic:
    for name in table.alpn or ():
        if not re.fullmatch(r"[\x21-\x7e]{1,255}", name):
            raise ConfigError(f"{key}.alpn", f"{name!r} is no protocol", 'give names such as "h3"')
    return Quic(tuple(table.alpn)) if table.alpn else Quic()


def _exec(key: str, table: CheckTable) -> Exec:
    if not table.command:
        raise ConfigError(f"{key}.command", "missing", 'give a list, such as ["/usr/local/bin/check-web"]')
    _absolute(f"{key}.command", table.command[0])
    for argument in table.command:
        if "\0" in argument:
            raise ConfigError(f"{key}.command", f"{argument!r} holds a zero byte", "remove it: no argument can")
    user = table.user or Exec(()).user
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", user):
        raise ConfigError(f"{key}.user", f"{user!r} is no user name", 'give one such as "nobody"')
    return Exec(tuple(table.command), user)


def _absolute(key: str, text: str) -> None:
    if not PurePosixPath(text).is_absolute() or "\0" in text:
        raise ConfigError(key, f"{text!r} is no absolute path", 'give one that begins with "/"')
