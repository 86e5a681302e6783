"""What a check asks, and by which way: values only. `check_config` makes them from a file, the probes ask them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Kind(StrEnum):
    """What a probe does. `docs/checks.md` says when each one passes."""

    TCP = "tcp"
    TLS = "tls"
    HTTP = "http"
    HTTPS = "https"
    GRPC = "grpc"
    UDP = "udp"
    DNS = "dns"
    ICMP = "icmp"
    QUIC = "quic"
    EXEC = "exec"
    AGENT = "agent"


class Through(StrEnum):
    """By which way a probe goes to its backend."""

    AUTO = "auto"  # through the tunnel where this host can do that, else directly, with a warning
    TUNNEL = "tunnel"  # to the VIP, with what clients' packets get in front
    DIRECT = "direct"  # to the backend's own address


class Initial(StrEnum):
    """What is believed of a backend that nothing is known of."""

    PROBE = "probe"  # nothing, until the first probe decides
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Tls:
    """How to meet a server by TLS. `name` is asked for (SNI) and, with `verify`, must be on the certificate.

    `ca_file` None: the system's authorities. A certificate that ends within `expiry_days` is a warning, not a failure.
    """

    name: str | None = None
    verify: bool = False
    ca_file: str | None = None
    expiry_days: float = 14.0


@dataclass(frozen=True, slots=True)
class Http:
    """A request and the answers that pass: status in one of the ranges (first, last), body with a match of a regex."""

    method: str = "GET"
    path: str = "/"
    host: str | None = None  # None: the VIP's or backend's address
    headers: tuple[tuple[str, str], ...] = ()
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    body: str | None = None
    http2: bool = False


@dataclass(frozen=True, slots=True)
class Grpc:
    """The service whose health is asked for (grpc.health.v1); "" is the server as a whole."""

    service: str = ""
    host: str | None = None  # None: the VIP's or backend's address


@dataclass(frozen=True, slots=True)
class Talk:
    """What is sent, and a regex that must be found in what comes back; None: nothing is waited for (UDP: anything)."""

    send: bytes = b""
    expect: str | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """A question, and a regex that must be found in one of the answers' texts; None: any answer without error."""

    name: str
    type: str = "A"
    expect: str | None = None


@dataclass(frozen=True, slots=True)
class Exec:
    """A program (absolute path and arguments) and the user that it runs as."""

    command: tuple[str, ...]
    user: str = "nobody"


@dataclass(frozen=True, slots=True)
class Quic:
    """The application protocols that are offered (ALPN)."""

    alpn: tuple[str, ...] = ("h3",)


Ask: TypeAlias = Http | Grpc | Talk | Dns | Exec | Quic | None
