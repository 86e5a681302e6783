"""Single values as people write them, in the file and on the command line; their errors name the key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from xdplb.errors import ConfigError
from xdplb.model import (
    ALL_PORTS,
    MAX_WEIGHT,
    Address,
    Backend,
    Listen,
    Network,
    Protocol,
    Vip,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


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


def parse_network(key: str, text: str) -> Network:
    """Return a network from `192.0.2.0/24`. Raises ConfigError."""
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(key, f"{text!r} is no network", 'write "192.0.2.0/24" or "2001:db8::/64"') from None
    address = parse_address(key, text.partition("/")[0])
    if address != network.network_address:
        raise ConfigError(key, f"{text!r} has bits set behind its prefix", f'give "{network}"')
    return network


_VIP = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::(?:([0-9]{1,5})(?:-([0-9]{1,5}))?|(\*)))?")
_VIP_FIX = 'write "192.0.2.10:80" or "[2001:db8::10]:80"; ":*" for every port'


def parse_vip(key: str, text: str, protocol: Protocol) -> Vip:
    """Return a VIP: an address or a network, with a port, a range of ports, or `*` for all of them.

    As `192.0.2.10:80`, `[2001:db8::10]:80`, `192.0.2.0/24:8000-8999`, `192.0.2.10:*`; with protocol `any`, the ports
    are left away. Raises ConfigError.
    """
    split = _VIP.fullmatch(text)
    if split is None or not (split[3] or split[5] or protocol is Protocol.ANY):
        raise ConfigError(key, f"{text!r} is not an address with a port", _VIP_FIX)
    host = split[1] if split[1] is not None else split[2]
    address, prefix = parse_address(key, host.partition("/")[0]), 0
    if "/" in host:
        network = parse_network(key, host)
        if network.prefixlen < 8:
            raise ConfigError(key, f"{text!r} is larger than a /8", "give longer prefixes")
        if network.version == 6 and IPv6Address("::ffff:0:0") in network:
            raise ConfigError(key, f"{text!r} holds the IPv4-mapped addresses", "give a network of global addresses")
        prefix = network.prefixlen if network.num_addresses > 1 else 0
    if protocol is Protocol.ANY:
        if split[3]:
            raise ConfigError(key, f'{text!r} has a port, but protocol is "any"', "leave the port away")
        return Vip(address, 0, protocol, 0, prefix)
    if split[5]:
        return Vip(address, ALL_PORTS[0], protocol, ALL_PORTS[1], prefix)
    first = int(within(key, int(split[3]), 1, 65535))
    last = int(within(key, int(split[4]), 1, 65535)) if split[4] else first
    if last < first:
        raise ConfigError(key, f"{text!r}: the range of ports is upside down", f"give {last}-{first}")
    return Vip(address, first, protocol, last if last > first else 0, prefix)


def parse_listen(key: str, text: str) -> Listen:
    """Return an address of this host and a port, as `127.0.0.1:9110` or `[::1]:9110`. Raises ConfigError."""
    split = re.fullmatch(r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\]):([0-9]{1,5})", text)
    try:
        address = ip_address(split[1] or split[2]) if split else None
    except ValueError:
        address = None
    if split is None or address is None or (address.version == 6) != bool(split[2]):
        fix = 'give one such as "127.0.0.1:9110", "[::1]:9110" or "0.0.0.0:9110"'
        raise ConfigError(key, f"{text!r} is not an address with a port", fix)
    return Listen(address, int(within(key, int(split[3]), 1, 65535)))


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


_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smh]?)")


def parse_duration(key: str, text: str) -> float:
    """Return the seconds of `30s`, `10m`, `2h`, or plain seconds. Raises ConfigError."""
    split = _DURATION.fullmatch(text)
    if split is None:
        raise ConfigError(key, f"{text!r} is no duration", 'write "30s", "10m", "2h", or plain seconds')
    return float(split[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[split[2]]


def within(key: str, value: float, least: float, most: float) -> float:
    """Return a number inside its bounds. Raises ConfigError."""
    if not least <= value <= most:
        raise ConfigError(key, f"{value} is out of range", f"give {least} to {most}")
    return value


_Choice = TypeVar("_Choice", bound=StrEnum)


def choice(kind: type[_Choice], key: str, text: str) -> _Choice:
    """Return the member of this name. Raises ConfigError."""
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(f'"{member}"' for member in kind)
        raise ConfigError(key, f"{text!r} is not known", f"give one of {known}") from None


def unique(key: str, what: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise ConfigError(key, f"two have the {what} {str(value)!r}", f"each {what} must be different")
        seen.add(value)
