"""Ask of a running daemon what a change would do: its tables, its counters and what it knows go to `plan`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xdplb.comparison import compare_backends, compare_settings
from xdplb.desired import Hop, Overrides, desire
from xdplb.guard import Lists
from xdplb.health.watch import boot_time
from xdplb.model import Address, Config
from xdplb.plan import Facts, Known, plan, suppose
from xdplb.reload import keep_same, sources
from xdplb.tables import Traffic

if TYPE_CHECKING:
    from xdplb.daemon import Daemon


async def plan_change(
    daemon: Daemon, config: Config, overrides: Overrides, measure_s: float = 0.0, lists: Lists | None = None
) -> dict[str, Any]:
    """Return what another configuration or other changes would do; nothing is changed. Raises KernelError.

    For `measure_s`, it is measured what backends are sent. `lists` are the guard's then, if they are others.
    """
    config = keep_same(daemon.config, config)
    per_s = await _measure(daemon, measure_s)
    hops = dict(_given_sources(daemon.network.hops, config))
    known = suppose((daemon.config, daemon.kept.overrides), (config, overrides), Known(daemon.health, hops))
    shares = daemon.schedule.ramps.shares(boot_time())
    after = await asyncio.to_thread(desire, config, overrides, known.health, known.hops, None, time.time(), shares)
    forwarding = daemon.forwarding
    kernel, held = forwarding.kernel, frozenset(forwarding.transitions.held)
    wanted = daemon.spec_of(config, overrides, kernel.spec, lists or daemon.lists)
    found = await asyncio.to_thread(
        plan,
        daemon.services,
        after,
        forwarding.copy_tables(),  # the daemon goes on meanwhile
        kernel.spec,
        daemon.sweeper,
        wanted,
        Facts(held, per_s, kernel.bytes_with),
    )
    return {
        **found,
        "warnings": [*found["warnings"], *_warn(daemon.config, config)],
        "settings": compare_settings(daemon.config, config),
        "differences": compare_backends(daemon.config, config),
        "unknown": sorted(f"{service}/{name}" for service, name in known.supposed),
    }


async def _measure(daemon: Daemon, seconds: float) -> dict[int, Traffic] | None:
    """Return what each backend is sent in so many seconds, as a rate; None when nothing can be said."""
    if not seconds:
        return None
    kernel, began = daemon.forwarding.kernel, time.monotonic()
    before = kernel.traffic()
    await asyncio.sleep(seconds)
    if kernel is not daemon.forwarding.kernel:  # others count now
        return None
    took_s = time.monotonic() - began
    return {
        identity: sent.per_s(before.get(identity, Traffic()), took_s) for identity, sent in kernel.traffic().items()
    }


def _given_sources(hops: Mapping[Address, Hop | str], config: Config) -> Iterator[tuple[Address, Hop | str]]:
    """Yield the ways as they are with the sources of outer headers that a configuration gives."""
    given = sources(config.balancer)
    for address, hop in hops.items():
        source = given[address.version]
        yield address, replace(hop, source=source) if source and isinstance(hop, Hop) else hop


def _warn(before: Config, after: Config) -> Iterator[str]:
    """Yield what only a restart does, and what cannot be told beforehand."""
    was, will = before.balancer, after.balancer
    for name in ("name", "mode"):
        if getattr(was, name) != getattr(will, name):
            yield f"balancer.{name} needs a restart: `apply` and `reload` refuse such a file"
    if was.interfaces != will.interfaces:
        yield "other interfaces: the ways to backends are found out only then, and more entries may be written"
    if [name for name in ("source4", "source6") if getattr(was, name) and not getattr(will, name)]:
        yield "outer sources are what routes say then; more entries may be written"
