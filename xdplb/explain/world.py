"""Everything that a packet's way depends on, at one moment: the tables, and what people call what is in them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredBackend, DesiredService
from xdplb.model import Address, State
from xdplb.tables import BackendRow, ServiceRow, Tables

Listed = Callable[[Address], tuple[str, str] | None]  # the longest prefix that covers an address, and its list


@dataclass(frozen=True, slots=True)
class Names:
    """What only the daemon knows. `listed` None: the lists are not known."""

    services: Mapping[int, DesiredService] = field(default_factory=dict)
    backends: Mapping[int, DesiredBackend] = field(default_factory=dict)
    listed: Listed | None = None


def names_of(services: Sequence[DesiredService], listed: Listed) -> Names:
    """Return the names of services and backends by their identities."""
    backends = {backend.identity: backend for service in services for backend in service.backends}

    def of_family(address: Address) -> tuple[str, str] | None:
        """IPv4-mapped addresses of IPv6 packets are on no list: none can name them."""
        mapped = isinstance(address, IPv6Address) and address.ipv4_mapped
        return None if mapped else listed(address)

    return Names({service.identity: service for service in services}, backends, of_family)


@dataclass(frozen=True, slots=True)
class World:
    """`flows` and `fragments` as they lie in the kernel; `interfaces`: names by number; `now`: the clock of rates."""

    spec: Spec
    tables: Tables
    flows: Sequence[int]
    fragments: Mapping[bytes, bytes]
    names: Names = Names()
    interfaces: Mapping[int, str] = field(default_factory=dict)
    now: int = 0

    def service(self, row: ServiceRow) -> str:
        """Return a service's name, or what stands for it."""
        service = self.names.services.get(row.identity)
        return service.name if service else f"service {row.identity:016x}"

    def desired(self, row: BackendRow) -> DesiredBackend | None:
        """Return what the daemon wants of a backend."""
        return self.names.backends.get(row.identity)

    def backend(self, index: int) -> str:
        """Return a backend's name and address."""
        row = self.tables.backends.get(index)
        if row is None:
            return f"backend number {index}, which is gone" if index else "nobody"
        desired = self.desired(row)
        return f"{desired.backend.name} ({row.address})" if desired else str(row.address)

    def health(self, index: int) -> str:
        """Return a backend's state and why; without a daemon, what its row says."""
        row = self.tables.backends.get(index)
        if row is None:
            return "gone"
        desired = self.desired(row)
        return state_text(desired) if desired else ("up" if row.up else "down")

    def interface(self, index: int) -> str:
        """Return an interface's name."""
        return self.interfaces.get(index) or f"interface number {index}"


def state_text(desired: DesiredBackend) -> str:
    """Return a backend's state, and why it is not up."""
    reason = desired.reason or ("its weight is 0" if desired.state is State.IDLE else "")
    return str(desired.state) + (f": {reason}" if reason and desired.state is not State.UP else "")
