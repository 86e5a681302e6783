"""How much room tables need when what is desired does not fit into those that there are. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xdplb.dataplane.plane import Spec
from xdplb.desired import DesiredService
from xdplb.errors import KernelError
from xdplb.reconcile import NoRoom, needed, reconcile
from xdplb.tables import NO_BACKEND, Tables

SEEDS = 8  # attempts to place all VIPs, each with a new seed; one in thousands fails


def next_seed(seed: int) -> int:
    """Return another seed for the service table, the same one on every box."""
    return (seed * 0x5851F42D4C957F2D + 0x14057B7EF767814F) & (1 << 64) - 1


def roomier(spec: Spec, services: Sequence[DesiredService]) -> Spec:
    """Return a spec whose tables can hold these services: more room, and a seed that places every VIP."""
    have, room = spec.capacity, needed(services)
    capacity = have.union(room)
    seed = spec.seed
    for _ in range(SEEDS):
        try:
            reconcile(services, Tables(slots=[NO_BACKEND] * capacity.slots), capacity, seed)
        except NoRoom:
            seed = next_seed(seed)
        else:
            return replace(spec, capacity=capacity, seed=seed)
    raise KernelError(f"the VIPs found no rows in the service table with {SEEDS} seeds")


def doubled(spec: Spec) -> Spec:
    """Return a spec with twice the room for slots and backends: old ones must fit in beside the new ones."""
    room = spec.capacity
    return replace(spec, capacity=replace(room, slots=2 * room.slots, backends=2 * room.backends))
