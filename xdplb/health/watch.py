"""Drive the checks: one task per checked backend of a service, results as they change."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from xdplb.desired import Health, Key
from xdplb.health.check import Memory, Probe, RiseFall, Start
from xdplb.health.combine import combine
from xdplb.health.probe import Target, probe
from xdplb.model import Address, Check

log = logging.getLogger("xdplb")

JITTER = 0.1  # share of the interval by which probes spread, so that they do not march in step

Wanted = Mapping[Key, tuple[Check, Address]]


class Watch:
    """Checks of a changing set of backends; `health` holds what they found."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called, in the event loop, after `health` has changed."""
        self.health: dict[Key, Health] = {}
        self._changed = changed
        self._tasks: dict[Key, tuple[tuple[Check, Address], asyncio.Task[None]]] = {}

    def follow(self, wanted: Wanted, known: Mapping[Key, Health] | None = None) -> None:
        """Check exactly these backends; `known` is what was found before, and where a new check starts from."""
        for key in [k for k, (what, _) in self._tasks.items() if wanted.get(k) != what]:
            self._tasks.pop(key)[1].cancel()
            if key not in wanted:
                self.health.pop(key, None)
        for key, (check, address) in wanted.items():
            if key not in self._tasks:
                if known and key in known:
                    self.health[key] = known[key]
                task = asyncio.create_task(self._run(key, check, address))
                task.add_done_callback(_report)
                self._tasks[key] = ((check, address), task)

    async def wait_first(self, timeout_s: float) -> bool:
        """Return when every check has a result, or after the timeout; tell whether there was one to wait for."""
        loop = asyncio.get_running_loop()
        until, waited = loop.time() + timeout_s, False
        while any(key not in self.health for key in self._tasks) and loop.time() < until:
            waited = True
            await asyncio.sleep(0.002)
        return waited

    async def close(self) -> None:
        """Stop all checks."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    async def _run(self, key: Key, check: Check, address: Address) -> None:
        machine = RiseFall(check)
        known = self.health.get(key)
        memory = Memory(known.up, known.cause, _now()) if known and known.up is not None else None
        effects = machine.handle(Start(memory), _now())
        began = _now()
        while True:
            self._note(key, machine)
            (wait,) = (effect for effect in effects if isinstance(effect, Probe))
            await asyncio.sleep(began + wait.after_s * random.uniform(1 - JITTER, 1 + JITTER) - _now())
            began = _now()
            ended = await probe(check, Target(address, check.port))
            effects = machine.handle(ended, _now())

    def _note(self, key: Key, machine: RiseFall) -> None:
        """Keep what is believed, and tell when it is something else than before."""
        before, found = self.health.get(key), combine([[machine.result]])
        if found.up is not None and found != before:
            self.health[key] = found
            if before is None or replace(before, cause="", warning="") != replace(found, cause="", warning=""):
                self._changed()


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _report(task: asyncio.Task[None]) -> None:
    """A check that ends by itself is a bug: say so loudly."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("a check has ended", exc_info=error)
