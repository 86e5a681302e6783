"""What the doctor knows of the box: values only. `look` fills them in, the other modules judge them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from xdplb.doctor.finding import Unchecked
from xdplb.model import Address, Config, Service
from xdplb.traps import VipRoute

Hop = tuple[int, Address]  # a neighbour: number of the interface, address


@dataclass(frozen=True, slots=True)
class Channels:
    """Queues (`ethtool -l`): now, and how many there may be. Drivers have combined ones or separate ones."""

    rx: int = 0
    tx: int = 0
    combined: int = 0
    max_rx: int = 0
    max_tx: int = 0
    max_combined: int = 0


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A queue's interrupt, and on which cores it may run."""

    number: int
    name: str
    cores: frozenset[int]


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a veth. `tx_checksum`, `tx_tags`: it leaves checksums, or VLAN tags, to hardware."""

    name: str
    namespace: str
    has_program: bool
    tx_checksum: bool
    tx_tags: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """One of the balancer's interfaces. None, where the kernel or the driver does not say.

    `owner`: the balancer whose pin holds the program, "": nobody's. `features`: those that are on, and can be changed
    (`ethtool -k`); `xdp_features`: NETDEV_XDP_ACT_...; `ring`: receive buffers now and at the most (`ethtool -g`).
    """

    name: str
    index: int
    mtu: int = 1600
    driver: str = "veth"
    up: bool = True
    carrier: bool = True
    master: int = 0
    parent: int = 0
    xdp_mode: str | None = None
    program_id: int | None = None
    program_name: str = ""
    owner: str = ""
    by_link: bool = False
    features: frozenset[str] | None = frozenset()
    xdp_features: int | None = None
    channels: Channels | None = None
    ring: tuple[int, int] | None = None
    interrupts: tuple[Interrupt, ...] = ()
    rps_queues: tuple[str, ...] = ()
    peer: Peer | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """Any interface of the box."""

    name: str
    mac: bytes = b""
    master: int = 0
    parent: int = 0
    vlan: int = 0
    kind: str = ""
    rp_filter: int = 0
    forwarding: bool = False  # IPv4
    forwarding6: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """How the kernel would send to an address. `error`: errno; `local`: it is this box's own.

    `ours`: frames can leave that way by one of the balancer's interfaces. `mtu` 0: the interface's.
    """

    error: int = 0
    local: bool = False
    oif: int = 0
    gateway: Address | None = None
    source: Address | None = None
    mtu: int = 0
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the kernel's: NUD_... and the MAC address."""

    state: int
    mac: bytes = b""


@dataclass(frozen=True, slots=True)
class System:
    """What is true for the whole host; None: it could not be read."""

    kernel: tuple[int, int] = (6, 1)
    bpffs: bool = True
    memlock_unlimited: bool = True
    jit: int | None = 1
    harden: int | None = 0
    synchronised: bool | None = True
    cores: int = 2
    irqbalance: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one time: reasons by name, and the drivers' by interface and name."""

    verdicts: Mapping[str, int] = field(default_factory=dict)
    drivers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """How full one is. `setting`: what makes it larger."""

    name: str
    used: int
    room: int
    setting: str


@dataclass(frozen=True, slots=True)
class Running:
    """The daemon. `socket`: its path; `answers` False: somebody listens there and does not answer."""

    socket: str
    answers: bool
    status: Mapping[str, Any] = field(default_factory=dict)
    open_files: int | None = None
    differences: tuple[str, ...] = ()  # of the file from what runs
    direct: Mapping[Address, str] = field(default_factory=dict)  # "" when a connection came about, else why not


@dataclass(frozen=True)  # without slots: they leave no place to keep what is worked out once
class Box:
    """All of it. `config` None: there is no file that can be read; `problem` says why."""

    name: str = "main"
    path: str = "/etc/xdplb.toml"
    config: Config | None = None
    problem: str = ""
    services: tuple[Service, ...] = ()  # as operators want them now
    system: System = System()
    interfaces: tuple[Interface, ...] = ()
    missing: tuple[str, ...] = ()
    links: Mapping[int, Link] = field(default_factory=dict)
    addresses: Mapping[Address, tuple[int, int]] = field(default_factory=dict)  # own: interface, prefix length
    ways: Mapping[Address, Way] = field(default_factory=dict)  # to backends
    vip_ways: Mapping[Address, Way] = field(default_factory=dict)
    neighbours: Mapping[Hop, Neighbour] = field(default_factory=dict)
    claims: Mapping[Hop, frozenset[bytes]] = field(default_factory=dict)  # who answered just now, of those asked
    probe_routes: tuple[VipRoute, ...] = ()
    filters: tuple[tuple[str, str], ...] = ()  # interface, what is in front of the probes' filter there
    blocked: Mapping[Address, str] = field(default_factory=dict)  # of backends, next hops, own: the prefix on the list
    wide_blocks: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    attached: bool = False  # a program of this balancer is on some interface
    starting: bool = False  # a daemon is there, and has no socket yet
    running: Running | None = None
    before: Sample = Sample()
    after: Sample = Sample()
    took_s: float = 0.5  # between these
    tables: tuple[Table, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()

    def name_of(self, index: int) -> str:
        """Return what an interface is called."""
        link = self.links.get(index)
        return link.name if link else f"interface number {index}"

    @cached_property
    def backends_by_address(self) -> dict[Address, list[str]]:
        """Return every backend as SERVICE/NAME, by its address."""
        found: dict[Address, list[str]] = {}
        for service in self.services:
            for backend in service.backends:
                found.setdefault(backend.address, []).append(f"{service.name}/{backend.name}")
        return found
