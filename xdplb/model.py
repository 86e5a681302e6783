"""The nouns: VIPs, backends, checks, services, and the settings of one balancer. Values only.

All of them are frozen; `config` makes them from a file, `desired` from a file plus what happened since.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeAlias

from xdplb.health.kinds import Ask, Initial, Kind, Through, Tls

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

DEFAULT_WEIGHT = 100
MAX_WEIGHT = 65535
ALL_PORTS = (1, 65535)  # 0 is nobody's (RFC 6335, 6)
GUE_PORT = 6080  # IANA
EVIDENCE_PORT = 6090  # nobody's at IANA


class Protocol(StrEnum):
    """What a VIP can be asked for: a transport protocol, or all there are (`any`)."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"
    ANY = "any"

    @property
    def number(self) -> int:
        """The protocol's number in an IP header (IANA protocol numbers); 0 for all."""
        return {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132, Protocol.ANY: 0}[self]


class Forward(StrEnum):
    """How a service's packets get to its backends."""

    IPIP = "ipip"  # another IP header in front (RFC 2003, RFC 2473)
    GUE = "gue"  # IP, UDP and a GUE header in front (draft-ietf-intarea-gue, variant 0)
    L2 = "l2"  # the Ethernet header alone changes: the backend is on the same link
    LOCAL = "local"  # to this host's own stack


class Affinity(StrEnum):
    """What of a packet decides for its backend."""

    FLOW = "flow"  # the five-tuple
    CLIENT = "client"  # the client's address


class Action(StrEnum):
    """What happens with what the guard refuses."""

    DROP = "drop"
    COUNT = "count"


class WhenAllDown(StrEnum):
    """What happens with new flows when no backend of a service is up."""

    DROP = "drop"
    KEEP = "keep"  # all that can be reached get them, as though they were up
    FALLBACK = "fallback"  # another service's backends get them


class Reload(StrEnum):
    """When the daemon takes up its file anew: when it is told to, or also when the file has changed."""

    TOLD = "told"
    WATCH = "watch"


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
    DRAINING = "draining"  # no new flows: an operator or its agent wants that, or it is ejected
    UNREACHABLE = "unreachable"  # no route to it, or its neighbour does not answer
    IDLE = "idle"  # its weight is 0


@dataclass(frozen=True, slots=True, order=True)
class Vip:
    """Address, port and protocol that clients send to; or a network, or a range of ports, or all of them."""

    address: Address
    port: int = 0  # 0: of a protocol without ports, or of any protocol
    protocol: Protocol = Protocol.TCP
    last_port: int = 0  # of a range that begins with `port`; 0: there is but one
    prefix: int = 0  # length, of a network (CIDR) whose first address this is; 0: there is but one address

    def __str__(self) -> str:
        host = f"{self.address}/{self.prefix}" if self.prefix else str(self.address)
        ports = "*" if (self.port, self.last_port) in ((0, 0), ALL_PORTS) else str(self.port)
        if self.last_port and ports != "*":
            ports += f"-{self.last_port}"
        return f"[{host}]:{ports}/{self.protocol}" if self.address.version == 6 else f"{host}:{ports}/{self.protocol}"

    @property
    def network(self) -> Network:
        """Its addresses as a network."""
        return ip_network((self.address, self.prefix or self.address.max_prefixlen))


@dataclass(frozen=True, slots=True)
class Backend:
    """One server of a service. Its weight is its share of new flows; 0 means none."""

    name: str
    address: Address
    weight: int = DEFAULT_WEIGHT


@dataclass(frozen=True, slots=True)
class Check:
    """How to find out whether a backend can serve: what to ask (`kind`, `ask`, `tls`), by which way, how often.

    `port` 0: of a kind without ports. `vip`: through the tunnel to this one; None: to each of the service's.
    `full_size`: through the tunnel, at least one packet is as long as clients' may be.
    """

    port: int = 0
    interval_s: float = 2.0
    timeout_s: float = 1.0
    rise: int = 2
    fall: int = 3
    kind: Kind = Kind.TCP
    through: Through = Through.DIRECT
    vip: Vip | None = None
    ask: Ask = None
    tls: Tls | None = None
    full_size: bool = False
    fast_interval_s: float | None = None  # while a change is brewing; None: half of `interval_s`
    initial: Initial = Initial.PROBE
    hold_down_s: float = 10.0  # how long a backend that flaps has to pass before it comes up again; grows
    hold_down_max_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in a second, and so many at once."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them together, may do to a service. A client is a source's first so many bits."""

    packets: Rate | None = None  # of one client
    connections: Rate | None = None  # new ones of one client
    service_connections: Rate | None = None  # new ones of all clients
    prefix4: int = 32
    prefix6: int = 64
    action: Action = Action.DROP


@dataclass(frozen=True, slots=True)
class Service:
    """VIPs and the backends that serve them. Without checks, every backend counts as up."""

    name: str
    vips: tuple[Vip, ...]
    backends: tuple[Backend, ...]
    checks: tuple[Check, ...] = ()
    ring_size: int | None = None  # None: chosen from the number of backends
    forward: Forward = Forward.IPIP
    gue_port: int = GUE_PORT
    affinity: Affinity = Affinity.FLOW
    affinity_prefix4: int = 32  # so many bits of a client's address decide
    affinity_prefix6: int = 128
    limits: Limits | None = None
    learn_window_s: float = 120.0  # for so long after a change, a slot's older flows are learned; 0: nobody's are
    idle_timeout_s: float = 3600.0  # a remembered flow that is silent for so long is forgotten
    slow_start_s: float = 0.0  # for so long after its recovery, a backend's share of new flows grows
    checks_needed: int = 0  # so many of the checks must pass; 0: all
    panic_percent: float = 0.0  # with fewer backends up, checks are not believed: all that can be reached get flows
    when_all_down: WhenAllDown = WhenAllDown.DROP
    fallback: str | None = None  # the service whose backends serve when all are down
    passive: bool = False  # evidence from traffic makes probes come at once
    second_chance: bool = False  # packets of changed slots carry another backend's address along (docs/backends.md)


@dataclass(frozen=True, slots=True)
class Balancer:
    """What is true for the whole box."""

    interfaces: tuple[str, ...]
    name: str = "main"
    mode: Mode = Mode.NATIVE
    hash_key: str | None = None  # None: a random one, made once and kept in the state directory
    source4: IPv4Network | None = None  # of outer headers, spread over it; None: what the route to the backend says
    source6: IPv6Network | None = None
    dont_fragment: bool = True  # of outer IPv4 headers
    mtu: int | None = None  # the longest packet on the way to backends; None: what the route says
    vlan: bool = False  # VIPs are reached through tagged frames
    answers_per_s: int = 1000  # ICMP, on each CPU
    max_flows: int = 1 << 17  # remembered at a time, of slots that change their backend
    evidence_port: int = EVIDENCE_PORT  # of UDP, to which agents on backends report; 0: none
    reload: Reload = Reload.TOLD


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may talk to services at all."""

    block: tuple[str, ...] = ()  # prefixes
    allow: tuple[str, ...] = ()
    block_file: str | None = None
    allow_file: str | None = None
    action: Action = Action.DROP
    max_prefixes: int = 0  # room in the kernel; 0: as the lists need, and some more
    max_clients: int = 1 << 17  # whose rates are remembered at a time


class Role(StrEnum):
    """What somebody may do with the daemon; each may do what those before it may."""

    READ = "read"
    OPERATE = "operate"  # what changes at run time: backends, the guard's lists, flows
    ADMIN = "admin"  # the configuration, and who did what

    def includes(self, other: Role) -> bool:
        """Return whether who has this role may do what needs the other one."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Admin:
    """Who may use the API, besides root. Users are names, numbers, or `@group`."""

    read: tuple[str, ...] = ()
    operate: tuple[str, ...] = ()
    admin: tuple[str, ...] = ()
    listen: tuple[str, int] | None = None  # TCP, mutual TLS only
    certificate: str | None = None  # files in PEM
    key: str | None = None
    client_ca: str | None = None
    certificates: tuple[tuple[str, Role], ...] = ()  # a DNS name or the common name, and its role

    @property
    def users(self) -> dict[Role, tuple[str, ...]]:
        """Who has which role on the Unix socket."""
        return {Role.READ: self.read, Role.OPERATE: self.operate, Role.ADMIN: self.admin}


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a TCP port of this host is."""

    address: Address
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where they can be scraped besides the admin socket. `listen` None: nowhere."""

    listen: Listen | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration file."""

    balancer: Balancer
    services: tuple[Service, ...]
    guard: Guard = Guard()
    admin: Admin = Admin()
    metrics: Metrics = Metrics()
