"""The nouns: VIPs, backends, checks, services, and the settings of one balancer. Values only.

All of them are frozen; `config` makes them from a file, `desired` from a file plus what happened since.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

DEFAULT_WEIGHT = 100
MAX_WEIGHT = 65535


class Protocol(StrEnum):
    """A transport protocol that a VIP can have."""

    TCP = "tcp"
    UDP = "udp"

    @property
    def number(self) -> int:
        """The protocol's number in an IP header (IANA protocol numbers)."""
        return {Protocol.TCP: 6, Protocol.UDP: 17}[self]


class Mode(StrEnum):
    """Where the XDP program runs: on the NIC, in its driver, or behind it in the stack."""

    OFFLOAD = "offload"
    NATIVE = "native"
    GENERIC = "generic"


class State(StrEnum):
    """What a backend is doing now; only `up` receives new flows."""

    UP = "up"
    DOWN = "down"  # its check failed
    CHECKING = "checking"  # no probe has ended yet
    DRAINING = "draining"  # an operator asked for no new flows
    UNREACHABLE = "unreachable"  # no route to it, or its neighbour does not answer
    IDLE = "idle"  # its weight is 0


@dataclass(frozen=True, slots=True, order=True)
class Vip:
    """Address, port and protocol that clients send to."""

    address: Address
    port: int
    protocol: Protocol = Protocol.TCP

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Backend:
    """One server of a service. Its weight is its share of new flows; 0 means none."""

    name: str
    address: Address
    weight: int = DEFAULT_WEIGHT


@dataclass(frozen=True, slots=True)
class Check:
    """How to find out whether a backend can serve: a TCP connection to `port` of its address."""

    port: int
    interval_s: float = 2.0
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 3


@dataclass(frozen=True, slots=True)
class Service:
    """VIPs and the backends that serve them. `check` None means: every backend counts as up."""

    name: str
    vips: tuple[Vip, ...]
    backends: tuple[Backend, ...]
    check: Check | None = None
    ring_size: int | None = None  # None: chosen from the number of backends


@dataclass(frozen=True, slots=True)
class Balancer:
    """What is true for the whole box."""

    interface: str
    name: str = "main"
    mode: Mode = Mode.NATIVE
    hash_key: str | None = None  # None: a random one, made once and kept in the state directory
    source4: IPv4Address | None = None  # None: what the route to the backend says
    source6: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration file."""

    balancer: Balancer
    services: tuple[Service, ...]
