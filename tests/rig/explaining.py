"""Worlds for explanations: the tables of a configuration, in the fake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.rig.packets import config, service
from tests.rig.xdp import SPEC, desired
from xdplb.dataplane.fake import Fake
from xdplb.dataplane.outcome import Changed, Outcome
from xdplb.dataplane.plane import Spec
from xdplb.explain.places import Places
from xdplb.explain.story import Arrival, tell
from xdplb.explain.world import World, names_of
from xdplb.model import Address, Config
from xdplb.reconcile import reconcile

ETH0 = Arrival(5, "eth0")


def world(
    wanted: Config | None = None,
    down: set[str] | None = None,
    spec: Spec = SPEC,
    before: set[str] | None = None,
    listed: Callable[[Address], tuple[str, str] | None] = lambda address: None,
    fragments: Mapping[bytes, bytes] | None = None,
) -> World:
    """What there is with this configuration; `before`: those were down until a moment ago."""
    fake, wanted = Fake(spec), wanted or config(service())
    for who in ([before] if before is not None else []) + [down]:
        services = desired(wanted, down=who)
        fake.apply(reconcile(services, fake.tables(), spec.capacity, spec.seed))
    flows = [0] * (8 * spec.capacity.flows)
    interfaces = {5: "eth0", 7: "eth1"}
    return World(spec, fake.tables(), flows, fragments or {}, names_of(services, listed), interfaces)


def outcome(
    reason: str | None, frame: bytes = b"", backend: int | None = None, **changes: tuple[Changed, ...]
) -> Outcome:
    """What the program did, as it is told."""
    actions = {"passed": "pass", "answered": "tx", "dropped": "drop"}
    action = actions[reason.partition("_")[0]] if reason else "tx"
    return Outcome(action, frame, reason, backend, (), changes)


def explained(of: World, frame: Any, what: Outcome) -> dict[str, Any]:
    """The explanation."""
    return tell(of, Places(of.spec, of.tables), bytes(frame), ETH0, what)
