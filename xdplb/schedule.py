"""What comes by time alone: drains' deadlines, removals, the steps of slow starts.

The daemon asks here for the desired state, and is woken when it will be another one. Deadlines are told to people, so
they go by the clock on the wall; slow starts by the time since the boot, which nobody sets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from xdplb.desired import DesiredService, Health, Hop, Key, Memo, Overrides, desire
from xdplb.health.watch import boot_time
from xdplb.leaving import next_deadline
from xdplb.model import Address, Config
from xdplb.slow_start import Ramps

LONGEST_SLEEP_S = 10.0  # then the clock is looked at again: somebody may have set it
LATE_S = 0.01  # rather a moment after the time than one before


class Schedule:
    """The times of one balancer; `wake` is called when one of them has come."""

    def __init__(self, config: Config, wake: Callable[[], None]) -> None:
        self.config = config
        self.ramps = Ramps(_lasts_s(config))
        self._wake = wake
        self._memo = Memo()
        self._looked, self._looked_boot = 0.0, 0.0  # when the last desired state was made
        self._alarm: asyncio.TimerHandle | None = None

    def take_up(self, config: Config) -> None:
        """Go by another configuration from now on; slow starts that go on do so."""
        self.config = config
        self.ramps.lasts_s = _lasts_s(config)

    def desire(
        self,
        overrides: Overrides,
        health: Mapping[Key, Health],
        hops: Mapping[Address, Hop | str],
        before: Sequence[DesiredService],
    ) -> tuple[tuple[DesiredService, ...], bool]:
        """Return the desired state of this moment, and whether there is something to be kept.

        That is what a check has found, and that a slow start began or ended.
        """
        now, boot = self._looked, self._looked_boot = time.time(), boot_time()
        services = desire(self.config, overrides, health, hops, self._memo, now, self.ramps.shares(boot))
        found = bool(self._memo.found)
        if self.ramps.follow(before, services, boot):
            services = desire(self.config, overrides, health, hops, self._memo, now, self.ramps.shares(boot))
            found = True
        return services, found

    def set_alarm(self, overrides: Overrides) -> None:
        """Wake the daemon at the next time that matters."""
        if self._alarm is not None:
            self._alarm.cancel()
        times = self._left_s(overrides)
        if times:
            sleep_s = min(*times, LONGEST_SLEEP_S)
            self._alarm = asyncio.get_running_loop().call_later(max(0, sleep_s) + LATE_S, self._ring, overrides)

    def _left_s(self, overrides: Overrides) -> list[float]:
        deadline, step = next_deadline(overrides, self._looked), self.ramps.next_step(self._looked_boot)
        left = [] if deadline is None else [deadline - time.time()]
        return left if step is None else [*left, step - boot_time()]

    def _ring(self, overrides: Overrides) -> None:
        if any(left <= 0 for left in self._left_s(overrides)):
            self._wake()
        else:
            self.set_alarm(overrides)


def _lasts_s(config: Config) -> dict[str, float]:
    return {service.name: service.slow_start_s for service in config.services if service.slow_start_s}
