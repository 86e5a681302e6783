"""From a TOML file to a `model.Config`: every error names the key, the value and the fix.

The file's shape is declared as msgspec structs below; msgspec checks names and types, this file the meaning. Why
msgspec and not pydantic, with the measured times: docs/dependencies.md. Its errors carry the exact path, from which
the names in the file are looked up here.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from xdplb.errors import ConfigError
from xdplb.model import (
    DEFAULT_WEIGHT,
    MAX_WEIGHT,
    Address,
    Backend,
    Balancer,
    Check,
    Config,
    Mode,
    Protocol,
    Service,
    Vip,
)

MAX_RING = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class BalancerTable(msgspec.Struct, forbid_unknown_fields=True):
    """`[balancer]`."""

    interface: str
    name: str = "main"
    mode: str = "native"
    hash_key: str | None = None
    source4: str | None = None
    source6: str | None = None


class CheckTable(msgspec.Struct, forbid_unknown_fields=True):
    """`check` of a service."""

    kind: str = "tcp"
    port: int | None = None
    interval_s: float = 2.0
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 3


class BackendTable(msgspec.Struct, forbid_unknown_fields=True):
    """One of a service's `backends`."""

    address: str
    name: str | None = None
    weight: int = DEFAULT_WEIGHT


class ServiceTable(msgspec.Struct, forbid_unknown_fields=True):
    """`[[service]]`."""

    name: str
    vips: list[str]
    protocol: str = "tcp"
    backends: list[BackendTable] = msgspec.field(default_factory=list)
    check: CheckTable | None = None
    ring_size: int | None = None


class File(msgspec.Struct, forbid_unknown_fields=True):
    """A whole file."""

    balancer: BalancerTable
    service: list[ServiceTable] = msgspec.field(default_factory=list)


_Table: TypeAlias = BalancerTable | CheckTable | BackendTable | ServiceTable | File


def read_config(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError, whose key starts with the file's name."""
    try:
        return parse_config(path.read_text("utf-8"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.key}", str(error).removeprefix(f"{error.key}: ")) from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "is not text in UTF-8", "save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})", "give a readable TOML file") from None


def parse_config(text: str) -> Config:
    """Check the text of a configuration. Raises ConfigError."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError, as are numbers without end
        raise ConfigError("syntax", f"is not TOML: {error}", "mend that line (https://toml.io)") from None
    if not raw:
        raise ConfigError("balancer", "the file is empty", 'start with [balancer] and interface = "eth0"')
    try:
        file = msgspec.convert(raw, File)
    except msgspec.ValidationError as error:
        raise _translate(str(error), raw) from None
    return _config(file)


# --- msgspec's errors in our words --------------------------------------------------------------------------


def _translate(text: str, raw: dict[str, Any]) -> ConfigError:
    """Turn `Expected ... - at `$.service[0].check`` into key, problem and fix."""
    message, _, where = text.partition(" - at `$")
    path = [int(n) if n else name for name, n in re.findall(r"\.?([A-Za-z_0-9]+)|\[(\d+)\]", where.rstrip("`"))]
    key = _key(path, raw)
    if unknown := re.fullmatch(r"Object contains unknown field `(.+)`", message):
        return ConfigError(_join(key, unknown[1]), "unknown key", _suggest(unknown[1], _struct_at(path)))
    if missing := re.fullmatch(r"Object missing required field `(.+)`", message):
        return ConfigError(_join(key, missing[1]), "missing", "add it")
    value: Any = raw
    for step in path:
        value = value[step]
    wanted = re.match(r"Expected `(.+?)`", message)
    names = {"int": "a whole number", "str": "a text in quotes", "array": "a list", "object": "a table"}
    name = wanted[1].removesuffix(" | null") if wanted else message
    return ConfigError(
        key, f"{value!r} has the wrong type", f"give {names.get(name, name.replace('float', 'a number'))}"
    )


def _key(path: Sequence[str | int], raw: Any) -> str:
    """Name a place: `service.web.backends.b2`, with a number where there is no name."""
    parts: list[str] = []
    for step in path:
        raw = raw[step]
        named = isinstance(step, int) and isinstance(raw, dict) and isinstance(raw.get("name"), str)
        parts.append(raw["name"] if named else f"{step + 1}" if isinstance(step, int) else step)
    return ".".join(parts)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _struct_at(path: Sequence[str | int]) -> type[_Table]:
    names = [step for step in path if isinstance(step, str)]
    tables: dict[str, type[_Table]] = {
        "balancer": BalancerTable,
        "service": ServiceTable,
        "backends": BackendTable,
        "check": CheckTable,
    }
    return tables[names[-1]] if names else File


def _suggest(name: str, struct: type[_Table]) -> str:
    known = struct.__struct_fields__
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(known)}"


# --- meaning ------------------------------------------------------------------------------------------------


def _config(file: File) -> Config:
    if not file.service:
        raise ConfigError("service", "there is none", "add a [[service]] with name, vips and backends")
    services = tuple(_service(table) for table in file.service)
    _unique("service", "name", (s.name for s in services))
    taken: dict[Vip, str] = {}
    for service in services:
        for vip in service.vips:
            if vip in taken:
                other = f"service {taken[vip]!r} has it already"
                raise ConfigError(f"service.{service.name}.vips", f"{vip}: {other}", "give each VIP to one service")
            taken[vip] = service.name
    addresses = {vip.address for vip in taken}
    for service in services:
        for backend in service.backends:
            if backend.address in addresses:
                key = f"service.{service.name}.backends.{backend.name}.address"
                raise ConfigError(key, f"{backend.address} is a VIP", "give the backend's own address")
    return Config(_balancer(file.balancer), services)


def _balancer(table: BalancerTable) -> Balancer:
    if not re.fullmatch(r"[^\s/]{1,15}", table.interface):
        problem = f"{table.interface!r} is no interface name"
        raise ConfigError("balancer.interface", problem, "see `ip link` for the names")
    return Balancer(
        interface=table.interface,
        name=parse_place("balancer.name", table.name),
        mode=_choice(Mode, "balancer.mode", table.mode),
        hash_key=table.hash_key,
        source4=_source("balancer.source4", table.source4, IPv4Address),
        source6=_source("balancer.source6", table.source6, IPv6Address),
    )


_Family = TypeVar("_Family", IPv4Address, IPv6Address)


def _source(key: str, text: str | None, family: type[_Family]) -> _Family | None:
    if text is None:
        return None
    address = parse_address(key, text)
    if not isinstance(address, family):
        raise ConfigError(key, f"{text!r} is of the other family", f"give an IPv{key[-1]} address of this box")
    return address


def _service(table: ServiceTable) -> Service:
    key = f"service.{table.name}"
    parse_name(f"{key}.name", table.name)
    protocol = _choice(Protocol, f"{key}.protocol", table.protocol)
    if not table.vips:
        raise ConfigError(f"{key}.vips", "there is none", 'give at least one, such as "192.0.2.10:80"')
    vips = tuple(parse_vip(f"{key}.vips", text, protocol) for text in table.vips)
    _unique(f"{key}.vips", "VIP", vips)
    backends = tuple(_backend(f"{key}.backends", backend) for backend in table.backends)
    _unique(f"{key}.backends", "name", (b.name for b in backends))
    _unique(f"{key}.backends", "address", (b.address for b in backends))
    if table.ring_size is not None:
        within(f"{key}.ring_size", table.ring_size, max(1, len(backends)), MAX_RING)
        if table.ring_size & (table.ring_size - 1):
            higher = 1 << table.ring_size.bit_length()
            raise ConfigError(f"{key}.ring_size", f"{table.ring_size} is no power of two", f"give {higher}")
    check = _check(f"{key}.check", table.check, vips)
    return Service(table.name, vips, backends, check, table.ring_size)


def _backend(key: str, table: BackendTable) -> Backend:
    name = table.name if table.name is not None else table.address
    return make_backend(f"{key}.{name}", table.address, table.name, table.weight)


def _check(key: str, table: CheckTable | None, vips: Sequence[Vip]) -> Check | None:
    """Without `check`, TCP services get a TCP check on the VIP's port and UDP services none."""
    if table is None:
        if vips[0].protocol is Protocol.UDP:
            return None
        table = CheckTable()
    if table.kind == "none":
        return None
    if table.kind != "tcp":
        raise ConfigError(f"{key}.kind", f"{table.kind!r} is not known", 'give "tcp" or "none"')
    ports = {vip.port for vip in vips}
    if table.port is None and (len(ports) > 1 or vips[0].protocol is Protocol.UDP):
        raise ConfigError(f"{key}.port", "missing", "say which TCP port of the backends to probe")
    port = table.port if table.port is not None else vips[0].port
    within(f"{key}.port", port, 1, 65535)
    within(f"{key}.interval_s", table.interval_s, 0.01, 3600)
    within(f"{key}.timeout_s", table.timeout_s, 0.01, 600)
    within(f"{key}.rise", table.rise, 1, 1000)
    within(f"{key}.fall", table.fall, 1, 1000)
    return Check(port, table.interval_s, table.timeout_s, table.rise, table.fall)


# --- single values, also for the command line's arguments ---------------------------------------------------


def make_backend(key: str, address: str, name: str | None, weight: int) -> Backend:
    """Return a backend; without a name it is named by its address. Raises ConfigError."""
    parsed = parse_address(f"{key}.address", address)
    shown = parse_name(f"{key}.name", name) if name is not None else str(parsed)
    return Backend(shown, parsed, int(within(f"{key}.weight", weight, 0, MAX_WEIGHT)))


def parse_address(key: str, text: str) -> Address:
    """Return a unicast address of a host. Raises ConfigError."""
    try:
        address = ip_address(text)
    except ValueError:
        fix = "give an IPv4 or IPv6 address, without port or prefix length"
        raise ConfigError(key, f"{text!r} is no IP address", fix) from None
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.scope_id):
        raise ConfigError(key, f"{text!r} is IPv4-mapped or scoped", "give a plain address")
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ConfigError(key, f"{text!r} is not the address of one host", "give a unicast address")
    return address


def parse_vip(key: str, text: str, protocol: Protocol) -> Vip:
    """Return a VIP from `192.0.2.10:80` or `[2001:db8::10]:80`. Raises ConfigError."""
    split = re.fullmatch(r"\[([^\]]*)\]:([0-9]{1,5})|([^:\[\]]*):([0-9]{1,5})", text)
    if split is None:
        fix = 'write "192.0.2.10:80" or "[2001:db8::10]:80"'
        raise ConfigError(key, f"{text!r} is not an address with a port", fix)
    host, port = (split[1], split[2]) if split[1] is not None else (split[3], split[4])
    return Vip(parse_address(key, host), int(within(key, int(port), 1, 65535)), protocol)


def parse_name(key: str, text: str) -> str:
    """Return a name that is safe in files, URLs and tables. Raises ConfigError."""
    if not _NAME.fullmatch(text):
        raise ConfigError(key, f"{text!r} is no name", "use letters, digits, '.', '_' and '-', at most 63")
    return text


def parse_place(key: str, text: str) -> str:
    """Return a name that can also be a folder's in bpffs, which forbids dots. Raises ConfigError."""
    if "." in parse_name(key, text):
        raise ConfigError(key, f"{text!r} has a dot, which pins cannot have", "use '-' instead")
    return text


def within(key: str, value: float, least: float, most: float) -> float:
    """Return a number inside its bounds. Raises ConfigError."""
    if not least <= value <= most:
        raise ConfigError(key, f"{value} is out of range", f"give {least} to {most}")
    return value


_Choice = TypeVar("_Choice", Mode, Protocol)


def _choice(kind: Callable[[str], _Choice], key: str, text: str) -> _Choice:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(f'"{member}"' for member in kind)  # type: ignore[attr-defined]
        raise ConfigError(key, f"{text!r} is not known", f"give one of {known}") from None


def _unique(key: str, what: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise ConfigError(key, f"two have the {what} {str(value)!r}", f"each {what} must be different")
        seen.add(value)
