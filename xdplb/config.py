"""From a TOML file to a `model.Config`: every error names the key, the value and the fix.

The file's shape is declared as msgspec structs below; msgspec checks names and types, this file the meaning. Why
msgspec and not pydantic, with the measured times: docs/dependencies.md. Its errors carry the exact path, from which
the names in the file are looked up here.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec

from xdplb.admin_config import AdminTable, parse_admin
from xdplb.check_config import CheckTable, parse_checks, parse_needed
from xdplb.contract import CONSTANTS
from xdplb.errors import ConfigError
from xdplb.model import (
    DEFAULT_WEIGHT,
    EVIDENCE_PORT,
    GUE_PORT,
    Action,
    Affinity,
    Backend,
    Balancer,
    Config,
    Forward,
    Guard,
    Limits,
    Metrics,
    Mode,
    Network,
    Protocol,
    Rate,
    Reload,
    Service,
    Vip,
    WhenAllDown,
)
from xdplb.values import (
    choice,
    make_backend,
    parse_address,
    parse_listen,
    parse_name,
    parse_network,
    parse_place,
    parse_vip,
    unique,
    within,
)

MAX_RING = 1 << 20
MAX_DEBT_S = 4 * 3600  # a burst may be worth so many seconds of its rate: what the program's clock can tell


class BalancerTable(msgspec.Struct, forbid_unknown_fields=True):
    """`[balancer]`."""

    interface: str | list[str]
    name: str = "main"
    mode: str = "native"
    hash_key: str | None = None
    source4: str | None = None
    source6: str | None = None
    dont_fragment: bool = True
    mtu: int | None = None
    vlan: bool = False
    answers_per_s: int = 1000
    max_flows: int = 1 << 17
    evidence_port: int = EVIDENCE_PORT
    reload: str = "told"


class BackendTable(msgspec.Struct, forbid_unknown_fields=True):
    """One of a service's `backends`."""

    address: str
    name: str | None = None
    weight: int = DEFAULT_WEIGHT


class LimitsTable(msgspec.Struct, forbid_unknown_fields=True):
    """`limits` of a service."""

    packets_per_s: float | None = None
    packets_burst: int | None = None
    connections_per_s: float | None = None
    connections_burst: int | None = None
    service_connections_per_s: float | None = None
    service_connections_burst: int | None = None
    prefix4: int = 32
    prefix6: int = 64
    action: str = "drop"


class ServiceTable(msgspec.Struct, forbid_unknown_fields=True):
    """`[[service]]`."""

    name: str
    vips: list[str]
    protocol: str = "tcp"
    backends: list[BackendTable] = msgspec.field(default_factory=list)
    check: CheckTable | list[CheckTable] | None = None
    checks_needed: str | int = "all"
    panic_percent: float = 0.0
    when_all_down: str | None = None
    fallback: str | None = None
    passive: bool = False
    ring_size: int | None = None
    forward: str = "ipip"
    gue_port: int = GUE_PORT
    affinity: str = "flow"
    affinity_prefix4: int = 32
    affinity_prefix6: int = 128
    limits: LimitsTable | None = None
    learn_window_s: float = 120.0
    idle_timeout_s: float | None = None
    slow_start_s: float = 0.0
    second_chance: bool = False


class GuardTable(msgspec.Struct, forbid_unknown_fields=True):
    """`[guard]`."""

    block: list[str] = msgspec.field(default_factory=list)
    allow: list[str] = msgspec.field(default_factory=list)
    block_file: str | None = None
    allow_file: str | None = None
    action: str = "drop"
    max_prefixes: int = 0
    max_clients: int = 1 << 17


class MetricsTable(msgspec.Struct, forbid_unknown_fields=True):
    """`[metrics]`."""

    listen: str | None = None


class File(msgspec.Struct, forbid_unknown_fields=True):
    """A whole file."""

    balancer: BalancerTable
    service: list[ServiceTable] = msgspec.field(default_factory=list)
    guard: GuardTable = msgspec.field(default_factory=GuardTable)
    admin: AdminTable = msgspec.field(default_factory=AdminTable)
    metrics: MetricsTable = msgspec.field(default_factory=MetricsTable)


_Table: TypeAlias = (
    BalancerTable
    | CheckTable
    | BackendTable
    | ServiceTable
    | LimitsTable
    | GuardTable
    | AdminTable
    | MetricsTable
    | File
)


def read_config(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError, whose key starts with the file's name."""
    return read_file(path)[1]


def read_file(path: Path) -> tuple[str, Config]:
    """Return a file's text and what it says. Raises ConfigError, whose key starts with the file's name."""
    try:
        text = path.read_text("utf-8")
        return text, parse_config(text)
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
    names["bool"] = "true or false"
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
        "limits": LimitsTable,
        "guard": GuardTable,
        "admin": AdminTable,
        "metrics": MetricsTable,
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
    unique("service", "name", (s.name for s in services))
    _apart(services)
    _few_ranges(services)
    _fallbacks(services)
    networks = {vip.network for service in services for vip in service.vips}
    lengths = {(network.version, network.prefixlen) for network in networks}
    for service in services:
        for backend in service.backends:
            around = (length for version, length in lengths if version == backend.address.version)
            if any(ip_network((backend.address, length), strict=False) in networks for length in around):
                key = f"service.{service.name}.backends.{backend.name}.address"
                raise ConfigError(key, f"{backend.address} is a VIP", "give the backend's own address")
    balancer, guard, admin = _balancer(file.balancer), _guard(file.guard), parse_admin(file.admin)
    return Config(balancer, services, guard, admin, _metrics(file.metrics))


def _apart(services: Sequence[Service]) -> None:
    """No packet may be for two VIPs alike: the same ports, or networks that overlap and are not the same."""
    alike: dict[tuple[Network, Protocol, bool], list[tuple[Vip, int]]] = {}  # with the number of the service
    for number, service in enumerate(services):
        for vip in service.vips:  # a port inside a range is the closer one: they may stand side by side
            alike.setdefault((vip.network, vip.protocol, bool(vip.last_port)), []).append((vip, number))
    for same in alike.values():
        same.sort(key=lambda item: (item[0].port, item[1]))
        for pair in pairwise(same):
            if pair[1][0].port <= (pair[0][0].last_port or pair[0][0].port):
                (vip, number), (other, later) = sorted(pair, key=lambda item: item[1])
                name = repr(services[number].name)
                problem = f"{other}: service {name} has it already"
                if vip != other:
                    problem = f"{other} overlaps {vip} of service {name}"
                raise ConfigError(f"service.{services[later].name}.vips", problem, "give each VIP to one service")
    wide = {vip.network: s.name for s in services for vip in s.vips if vip.prefix}
    if len(wide) > CONSTANTS["NETWORKS"]:
        raise ConfigError("service", f"{len(wide)} networks as VIPs", f"give at most {CONSTANTS['NETWORKS']}")
    ordered = sorted(wide, key=lambda network: (network.version, int(network.network_address), network.prefixlen))
    for network, after in pairwise(ordered):
        if network.version == after.version and network.overlaps(after):
            problem = f"{after} of service {wide[after]!r} overlaps {network} of service {wide[network]!r}"
            raise ConfigError(f"service.{wide[after]}.vips", problem, "give networks that are equal or apart")


def _few_ranges(services: Sequence[Service]) -> None:
    count: dict[tuple[Network, Protocol], int] = {}
    for service in services:
        for vip in service.vips:
            if vip.last_port:
                place = (vip.network, vip.protocol)
                count[place] = count.get(place, 0) + 1
                if count[place] > CONSTANTS["RANGES"]:
                    problem = f"{vip.address} has more than {CONSTANTS['RANGES']} ranges of {vip.protocol} ports"
                    raise ConfigError(f"service.{service.name}.vips", problem, "join ranges, or give single ports")


def _balancer(table: BalancerTable) -> Balancer:
    names = [table.interface] if isinstance(table.interface, str) else table.interface
    if not names:
        raise ConfigError("balancer.interface", "there is none", "see `ip link` for the names")
    for name in names:
        if not re.fullmatch(r"[^\s/]{1,15}", name):
            raise ConfigError("balancer.interface", f"{name!r} is no interface name", "see `ip link` for the names")
    unique("balancer.interface", "name", names)
    within("balancer.interface", len(names), 1, CONSTANTS["DEVICES"])
    if table.mtu is not None:
        within("balancer.mtu", table.mtu, 596, 65535)
    return Balancer(
        interfaces=tuple(names),
        name=parse_place("balancer.name", table.name),
        mode=choice(Mode, "balancer.mode", table.mode),
        hash_key=table.hash_key,
        source4=_source("balancer.source4", table.source4, IPv4Network),
        source6=_source("balancer.source6", table.source6, IPv6Network),
        dont_fragment=table.dont_fragment,
        mtu=table.mtu,
        vlan=table.vlan,
        answers_per_s=int(within("balancer.answers_per_s", table.answers_per_s, 1, 1_000_000)),
        max_flows=int(within("balancer.max_flows", table.max_flows, 8192, 64_000_000)),
        evidence_port=int(within("balancer.evidence_port", table.evidence_port, 0, 65535)),
        reload=choice(Reload, "balancer.reload", table.reload),
    )


_Family = TypeVar("_Family", IPv4Network, IPv6Network)


def _source(key: str, text: str | None, family: type[_Family]) -> _Family | None:
    """Return a single address, or the prefix that outer sources are spread over: at most 2^20 of them."""
    if text is None:
        return None
    network = parse_network(key, text) if "/" in text else ip_network(parse_address(key, text))
    if not isinstance(network, family):
        raise ConfigError(key, f"{text!r} is of the other family", f"give an IPv{key[-1]} address of this box")
    least = network.max_prefixlen - 20
    if network.prefixlen < least:
        raise ConfigError(key, f"{text!r} has more than a million addresses", f"give a prefix of /{least} or longer")
    return network


def _guard(table: GuardTable) -> Guard:
    within("guard.max_prefixes", table.max_prefixes, 0, 16_000_000)
    within("guard.max_clients", table.max_clients, 1024, 64_000_000)
    return Guard(
        block=tuple(table.block),
        allow=tuple(table.allow),
        block_file=table.block_file,
        allow_file=table.allow_file,
        action=choice(Action, "guard.action", table.action),
        max_prefixes=table.max_prefixes,
        max_clients=table.max_clients,
    )


def _metrics(table: MetricsTable) -> Metrics:
    return Metrics(None if table.listen is None else parse_listen("metrics.listen", table.listen))


def _service(table: ServiceTable) -> Service:
    key = f"service.{table.name}"
    parse_name(f"{key}.name", table.name)
    protocol = choice(Protocol, f"{key}.protocol", table.protocol)
    forward = choice(Forward, f"{key}.forward", table.forward)
    if not table.vips:
        raise ConfigError(f"{key}.vips", "there is none", 'give at least one, such as "192.0.2.10:80"')
    vips = tuple(parse_vip(f"{key}.vips", text, protocol) for text in table.vips)
    unique(f"{key}.vips", "VIP", vips)
    backends = tuple(_backend(f"{key}.backends", backend) for backend in table.backends)
    unique(f"{key}.backends", "name", (b.name for b in backends))
    unique(f"{key}.backends", "address", (b.address for b in backends))
    if forward is Forward.LOCAL and (backends or table.check):
        name = "backends" if backends else "check"
        raise ConfigError(f"{key}.{name}", 'a service with forward = "local" has none', f"remove {name}")
    checks = () if forward is Forward.LOCAL else parse_checks(f"{key}.check", table.check, vips)
    needed = parse_needed(f"{key}.checks_needed", table.checks_needed, checks)
    if table.ring_size is not None:
        within(f"{key}.ring_size", table.ring_size, max(1, len(backends)), MAX_RING)
        if table.ring_size & (table.ring_size - 1):
            higher = 1 << table.ring_size.bit_length()
            raise ConfigError(f"{key}.ring_size", f"{table.ring_size} is no power of two", f"give {higher}")
    return Service(
        table.name,
        vips,
        backends,
        checks,
        table.ring_size,
        forward,
        int(within(f"{key}.gue_port", table.gue_port, 1, 65535)),
        choice(Affinity, f"{key}.affinity", table.affinity),
        int(within(f"{key}.affinity_prefix4", table.affinity_prefix4, 1, 32)),
        int(within(f"{key}.affinity_prefix6", table.affinity_prefix6, 1, 128)),
        _limits(f"{key}.limits", table.limits),
        within(f"{key}.learn_window_s", table.learn_window_s, 0, 3600),
        within(f"{key}.idle_timeout_s", _idle_timeout_s(table, protocol), 60, 7200),
        within(f"{key}.slow_start_s", table.slow_start_s, 0, 3600),
        needed,
        within(f"{key}.panic_percent", table.panic_percent, 0, 100),
        _when_all_down(key, table),
        table.fallback,
        table.passive,
        _second_chance(f"{key}.second_chance", table.second_chance, forward, protocol),
    )


def _when_all_down(key: str, table: ServiceTable) -> WhenAllDown:
    """A fallback says by itself what is meant."""
    wanted = "drop" if table.fallback is None else "fallback"
    policy = choice(WhenAllDown, f"{key}.when_all_down", table.when_all_down or wanted)
    if policy is WhenAllDown.FALLBACK and table.fallback is None:
        raise ConfigError(f"{key}.fallback", "missing", "name the service whose backends serve then")
    if policy is not WhenAllDown.FALLBACK and table.fallback is not None:
        raise ConfigError(f"{key}.fallback", f'means nothing with when_all_down = "{policy}"', "remove one of the two")
    return policy


def _fallbacks(services: Sequence[Service]) -> None:
    """A fallback is another service, that does not fall back itself and has backends."""
    known = {service.name: service for service in services}
    for service in (s for s in services if s.fallback is not None):
        key, other = f"service.{service.name}.fallback", known.get(service.fallback or "")
        if other is None or other is service:
            names = ", ".join(name for name in known if name != service.name) or "none yet: add one"
            raise ConfigError(key, f"{service.fallback!r} is no other service", f"give one of: {names}")
        if other.fallback is not None or other.forward is Forward.LOCAL or service.forward is Forward.LOCAL:
            raise ConfigError(
                key, f"{other.name!r} cannot serve for this one", "give a service with backends of its own"
            )


def _idle_timeout_s(table: ServiceTable, protocol: Protocol) -> float:
    """UDP does not say that a flow ends: silence is all there is to go by."""
    if table.idle_timeout_s is not None:
        return table.idle_timeout_s
    return 300.0 if protocol is Protocol.UDP else 3600.0


def _second_chance(key: str, wanted: bool, forward: Forward, protocol: Protocol) -> bool:
    """Only a backend that gets an outer header can be told of another one, and only TCP knows whose a flow is."""
    if wanted and forward not in (Forward.IPIP, Forward.GUE):
        raise ConfigError(key, f'true with forward = "{forward}"', 'give forward = "ipip" or "gue", or remove it')
    if wanted and protocol is not Protocol.TCP:
        raise ConfigError(key, f'true with protocol = "{protocol}"', "only TCP services can have it: remove it")
    return wanted


def _limits(key: str, table: LimitsTable | None) -> Limits | None:
    if table is None:
        return None
    packets, connections, all_connections = (
        _rate(f"{key}.{name}", getattr(table, f"{name}_per_s"), getattr(table, f"{name}_burst"))
        for name in ("packets", "connections", "service_connections")
    )
    if not (packets or connections or all_connections):
        raise ConfigError(key, "limits nothing", "give packets_per_s, connections_per_s or service_connections_per_s")
    return Limits(
        packets,
        connections,
        all_connections,
        prefix4=int(within(f"{key}.prefix4", table.prefix4, 1, 32)),
        prefix6=int(within(f"{key}.prefix6", table.prefix6, 1, 128)),
        action=choice(Action, f"{key}.action", table.action),
    )


def _rate(key: str, per_s: float | None, burst: int | None) -> Rate | None:
    """Without a burst, what comes in one second may come at once; the kernel's clock ticks some hundred times in it."""
    if per_s is None:
        if burst is not None:
            raise ConfigError(f"{key}_burst", f"{burst} without a rate", f"give {key.rpartition('.')[2]}_per_s, too")
        return None
    within(f"{key}_per_s", per_s, 0.01, 1_000_000)
    burst = burst if burst is not None else max(1, int(per_s))
    within(f"{key}_burst", burst, 1, int(per_s * MAX_DEBT_S) or 1)
    return Rate(per_s, burst)


def _backend(key: str, table: BackendTable) -> Backend:
    name = table.name if table.name is not None else table.address
    return make_backend(f"{key}.{name}", table.address, table.name, table.weight)
