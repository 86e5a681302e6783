"""What keeps a probe through the tunnel from leaving, or its answer from coming, with what mends it. Pure.

A probe is sent to the VIP by this host's own stack, which must therefore find a way to it; the answer comes from the
VIP to this host's own address, and must be believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xdplb.model import Address

STRICT = 1  # rp_filter, RFC 3704, 2.2


@dataclass(frozen=True, slots=True)
class Port:
    """An interface. `ethernet`: its frames begin so; `base`: what a VLAN's interface sends by, 0 for others.

    `rp_filter` is what is in force, of IPv4.
    """

    index: int
    name: str
    ethernet: bool = True
    base: int = 0
    rp_filter: int = 0


@dataclass(frozen=True, slots=True)
class VipRoute:
    """How the kernel sends to a VIP. `leaves`: by which interface, or by which ones (multipath).

    `arrives`: by which interfaces answers to `source` may come. `refused`: why there is no way, in the kernel's words.
    `holder`: the interface that has the VIP as an address; `local`: it is this host's, with or without one.
    `asks`: the VIP's own neighbour entry would be used, and nobody has answered for it.
    """

    vip: Address
    leaves: tuple[Port, ...] = ()
    arrives: tuple[Port, ...] = ()
    source: Address | None = None
    refused: str = ""
    local: bool = False
    holder: str = ""
    asks: bool = False


def find_traps(routes: Iterable[VipRoute]) -> list[str]:
    """Return what is wrong with each VIP's way out and the answers' way back."""
    return [trap for route in routes for trap in _traps(route)]


def _traps(route: VipRoute) -> list[str]:
    vip = route.vip
    if route.local:
        return [_own(route)]
    if route.refused or not route.leaves:
        what = f"probes to {vip} through the tunnel cannot leave: {route.refused or 'there is no route'}"
        return [f"{what}; give it one by any network interface: `ip route add {_prefix(vip)} via GATEWAY`"]
    found = [_no_ethernet(vip, port) for port in route.leaves if not port.ethernet]
    if route.asks:
        found.append(_asks(route))
    if route.source is None or route.source.is_loopback or route.source.is_link_local:
        found.append(_source(route))
    return found + [_strict(route, port) for port in route.arrives if _drops(route, port)]


def _prefix(vip: Address) -> str:
    return f"{vip}/{vip.max_prefixlen}"


def _own(route: VipRoute) -> str:
    what = f"{route.vip} is an address of this host, so probes through the tunnel never leave it"
    if route.holder:
        fix = f"`ip addr del {_prefix(route.vip)} dev {route.holder}`"
    else:
        fix = f"`ip route del local {_prefix(route.vip)}`"
    return f"{what}; take it off, XDP needs none: {fix}"


def _no_ethernet(vip: Address, port: Port) -> str:
    what = f"the route to {vip} leaves by {port.name}, whose frames have no Ethernet header to send on to a backend"
    return f"{what}; give it another: `ip route add {_prefix(vip)} via GATEWAY dev INTERFACE`"


def _asks(route: VipRoute) -> str:
    """Whoever is found there does not matter: the program writes the backend's next hop over it."""
    name = route.leaves[0].name
    what = (
        f"{route.vip} lies in {name}'s own network, and nobody there says that it is his, so probes to it never leave"
    )
    return f"{what}; run `ip neigh replace {route.vip} lladdr 02:00:00:00:00:01 nud permanent dev {name}`"


def _source(route: VipRoute) -> str:
    """A backend answers to the source that it saw."""
    source, name = route.source, route.leaves[0].name
    what = f"probes to {route.vip} would be sent from {source or 'no address'}, to which no backend can answer"
    return (
        f"{what}; give {name} an address of that family that backends have a route to: `ip addr add ADDRESS dev {name}`"
    )


def _drops(route: VipRoute, port: Port) -> bool:
    """Whether answers by this interface are dropped: strictly, they may come only where the VIP's route leaves.

    See fib_validate_source in net/ipv4/fib_frontend.c. There is no such thing for IPv6.
    """
    leaves = {other.index for other in route.leaves}
    return route.vip.version == 4 and port.rp_filter == STRICT and port.index not in leaves


def _strict(route: VipRoute, port: Port) -> str:
    by = " and ".join(other.name for other in route.leaves)
    what = f"answers of probes to {route.vip} come to {route.source} by {port.name}, where rp_filter is strict"
    fix = f"`sysctl -w net.ipv4.conf.{port.name.replace('.', '/')}.rp_filter=2`"
    return f"{what}, and are dropped, since the route to {route.vip} leaves by {by}: {fix}"
