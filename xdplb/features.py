"""Which switches of the program a configuration needs. Pure; what each one compiles in: the head of bpf/balancer.c."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from xdplb.dataplane.plane import Spec
from xdplb.desired import UNITS_PER_S
from xdplb.model import Action, Affinity, Config, Forward, Protocol, Service
from xdplb.tables import Capacity, Way, power_of_two

LEAST_LINES = 1 << 14  # of `flows`: hashing.flow_line wants as many
LONGEST_BUFFER = 3000  # bytes of MTU that fit one page on every driver; most take up to some 3,500


def ways_of(service: Service) -> set[Way]:
    """Return how a service's packets may have to go, with the backends that it has."""
    if service.forward is Forward.LOCAL:
        return {Way.LOCAL}
    if service.forward is Forward.L2:
        return {Way.L2}
    return {Way(f"{service.forward}{backend.address.version}") for backend in service.backends}


def spec_for(
    config: Config,
    services: Sequence[Service],
    hash_key: int,
    known: Spec | None,
    seed: int,
    mtus: Iterable[int] = (),
    vlans: bool = False,
    prefixes: int = 0,
    trace: bool = False,
) -> Spec:
    """Return what must be compiled in for these services, in tables as they are if known.

    `mtus` of the balancer's interfaces; `vlans`: a way to a backend has a tag of its own; `prefixes`: how many words
    the guard's lists need in the kernel; `trace`: somebody looks at packets.
    """
    balancer, vips = config.balancer, [vip for service in services for vip in service.vips]
    ways = {way for service in services for way in ways_of(service)} or {Way.IPIP4}
    limits = any(service.limits for service in services)
    # Two lines for each flow: then one in 40,000 finds its line full (the tail of a Poisson distribution).
    flows = max(LEAST_LINES, power_of_two(2 * balancer.max_flows))
    capacity = replace(known.capacity if known else Capacity(), flows=flows)
    if limits:
        capacity = capacity.union(Capacity(clients=-(-config.guard.max_clients // 8)))
    # They want twice what they fill: a table that is there is not left for a few more.
    if 2 * capacity.spans < prefixes:
        capacity = capacity.union(Capacity(spans=prefixes))
    return Spec(
        capacity=capacity,
        seed=known.seed if known else seed,
        hash_key=hash_key,
        vip4=any(vip.address.version == 4 for vip in vips),
        vip6=any(vip.address.version == 6 for vip in vips),
        **{way.value: way in ways for way in Way},
        vlan=balancer.vlan or vlans,
        sctp=any(vip.protocol is Protocol.SCTP for vip in vips),
        ranges=any(vip.last_port for vip in vips),
        any=any(vip.protocol is Protocol.ANY for vip in vips),
        networks=any(vip.prefix for vip in vips),
        client=any(service.affinity is Affinity.CLIENT for service in services),
        prefixes=prefixes > 0,
        limits=limits,
        redirect=len(balancer.interfaces) > 1,
        second_chance=any(service.second_chance for service in services),
        passive=any(service.passive for service in services),
        trace=trace,
        frags=any(mtu > LONGEST_BUFFER for mtu in mtus),
        source4_bits=balancer.source4.max_prefixlen - balancer.source4.prefixlen if balancer.source4 else 0,
        source6_bits=balancer.source6.max_prefixlen - balancer.source6.prefixlen if balancer.source6 else 0,
        outer_df=balancer.dont_fragment,
        block_counts_only=config.guard.action is Action.COUNT,
        answer_cost=max(1, round(UNITS_PER_S / balancer.answers_per_s)),
    )
