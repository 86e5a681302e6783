"""Which row of `services` a packet finds, as bpf/find_service.h looks for it; and if none, what came nearest. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address

from xdplb.contract import CONSTANTS
from xdplb.dataplane.plane import Spec
from xdplb.explain.layers import protocol_name
from xdplb.hashing import Key, key_word, port_word, words
from xdplb.model import ALL_PORTS, Address, Network
from xdplb.tables import ServiceRow, Tables

_KINDS = {CONSTANTS[f"KIND_{kind}"]: kind for kind in ("PORT", "RANGE", "RANGES", "ADDRESS")}
MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Found:
    """A row, and by what: `vip` in words, `network` if the address is no VIP by itself."""

    row: ServiceRow
    vip: str
    how: str


class Places:
    """The VIPs in one state of the tables."""

    def __init__(self, spec: Spec, tables: Tables) -> None:
        self._spec = spec
        self._rows = {row.key: row for row in tables.services.values()}
        self._networks = sorted(tables.networks.items(), key=lambda item: -item[0].prefixlen)
        self._addresses = {row.key[:2] for row in self._rows.values()}

    def is_vip(self, address: Address) -> bool:
        """Whether packets to this address are any business of ours."""
        return (*words(address), key_word(0, 0, "ADDRESS")) in self._rows or self._network_of(address) is not None

    def _network_of(self, address: Address) -> tuple[Network, int] | None:
        if not self._spec.networks:
            return None
        of_family = _unmapped(address)
        return next((item for item in self._networks if of_family in item[0]), None)

    def find(self, address: Address, port: int, protocol: int, ports: bool) -> Found | None:
        """Return the closest VIP's row. `ports`: the packet has any."""
        found = self._find_at(words(address), str(address), port, protocol, ports)
        if found is None and (network := self._network_of(address)):
            found = self._find_at((0, network[1]), str(network[0]), port, protocol, ports)
        return found

    def _find_at(self, place: tuple[int, int], host: str, port: int, protocol: int, ports: bool) -> Found | None:
        name = protocol_name(protocol).lower()
        if row := self._rows.get((*place, key_word(port, protocol, "PORT"))):
            return Found(row, _text(host, f"{port}/{name}"), "this very port")
        if self._spec.ranges and ports and (found := self._find_range(place, host, port, protocol)):
            return found
        row = self._rows.get((*place, key_word(0, 0, "ADDRESS"))) if self._spec.any else None
        return Found(row, f"{host} (any)", "every protocol") if row and row.ring_size else None

    def _find_range(self, place: tuple[int, int], host: str, port: int, protocol: int) -> Found | None:
        leads = self._rows.get((*place, key_word(0, protocol, "RANGES")))
        for first, last in leads.ranges if leads else ():
            row = self._rows.get((*place, key_word(first, protocol, "RANGE")))
            if first <= port <= last and row:
                ports = "*" if (first, last) == ALL_PORTS else f"{first}-{last}"
                return Found(row, _text(host, f"{ports}/{protocol_name(protocol).lower()}"), "a range of ports")
        return None

    # --- what came nearest ----------------------------------------------------------------------------------

    def nearest(self, address: Address, port: int, protocol: int) -> str:
        """Say why nothing was found."""
        asked = _text(str(address), f"{port}/{protocol_name(protocol).lower()}" if port else protocol_name(protocol))
        there = self._ports_at(words(address))
        if there:
            return f"no VIP {asked}; this address has {_listed(there)}"
        if network := self._network_of(address):
            return f"no VIP {asked}; {network[0]}, which it is in, has {_listed(self._ports_at((0, network[1])))}"
        hosts = sorted({host for row in self._rows.values() if (host := _host(row.key)) is not None}, key=_order)
        networks = [str(network) for network, _ in self._networks]
        if not hosts and not networks:
            return f"no VIP {asked}; there is no VIP at all"
        known = [*map(str, hosts), *networks]
        more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
        return (
            f"{address} is no VIP's address and in no VIP's network; VIPs are at {', '.join(known[:MOST_NAMED])}{more}"
        )

    def _ports_at(self, place: tuple[int, int]) -> list[str]:
        found: dict[str, None] = {}
        for row in self._rows.values():
            if row.key[:2] == place and (text := _ports(row, self._rows.values())):
                found[text] = None
        return sorted(found, key=lambda text: (text.split("/")[-1], len(text), text))


def _ports(row: ServiceRow, rows: Iterable[ServiceRow]) -> str:
    word = row.key[2]
    kind, protocol, port = _KINDS.get(word >> 24, ""), word >> 16 & 0xFF, port_word(word & 0xFFFF)
    name = protocol_name(protocol).lower()
    if kind == "PORT":
        return f"{port}/{name}"
    if kind == "RANGES":
        return ", ".join(f"{first}-{last}/{name}" for first, last in row.ranges)
    return "any protocol" if kind == "ADDRESS" and row.ring_size else ""


def _listed(ports: list[str]) -> str:
    more = f" and {len(ports) - MOST_NAMED} more" if len(ports) > MOST_NAMED else ""
    return ", ".join(ports[:MOST_NAMED]) + more


def _host(key: Key) -> Address | None:
    """Return the address of a row; None: it is a network's."""
    if key[0] == 0 and key[1] & 0xFFFFFFFF != 0xFFFF0000:
        return None
    packed = key[0].to_bytes(8, "little") + key[1].to_bytes(8, "little")
    return _unmapped(IPv6Address(packed))


def _unmapped(address: Address) -> Address:
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)


def _text(host: str, rest: str) -> str:
    return f"[{host}]:{rest}" if ":" in host else f"{host}:{rest}"
