"""Keep the program on the balancer's interfaces, whatever happens to them, and tell what happened.

What an interface is and what is wrong with it: `links`. Here the program is put where it is missing, also where
somebody took it off.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from xdplb.dataplane import loader
from xdplb.errors import KernelError
from xdplb.forwarding import Forwarding
from xdplb.links import Seen, news, problems
from xdplb.logs import log_event
from xdplb.net import Network

log = logging.getLogger("xdplb")


class Upkeep:
    """The program on its interfaces, from the moment on at which it was attached."""

    def __init__(self, network: Network, forwarding: Forwarding, tell: Callable[[str, str], object]) -> None:
        """`tell` takes a kind of event, and what happened."""
        self._network, self._forwarding, self._tell = network, forwarding, tell
        self._seen = Seen(dict(network.interfaces), [])
        self._refused: dict[str, str] = {}  # why the program is not on an interface, by its configured name

    def take_up(self) -> None:
        """Know that the interfaces are others now because the configuration says so: that is no news."""
        self._seen = Seen(dict(self._network.interfaces), self._seen.problems)

    def look(self) -> None:
        """Tell what is new with the interfaces, and attach where the program is missing; keep and tell what fails."""
        before = self._seen
        self._seen = Seen(dict(self._network.interfaces), problems(self._network.interfaces, self._network.links))
        for line in news(before, self._seen):
            log_event(log, logging.WARNING, "interface", line)
        if self._seen.numbers != before.numbers:
            with contextlib.suppress(OSError):  # it has vanished since: that is the next thing to be told
                self._forwarding.follow()
        present = self._forwarding.present()
        for name, index in present.items():
            if not loader.attached(self._forwarding.place, index):
                self._attach(name, index, new=index != before.numbers.get(name))
        self._refused = {name: why for name, why in self._refused.items() if name in present}

    def _attach(self, name: str, index: int, new: bool) -> None:
        try:
            self._forwarding.attach_again(name, index)
        except (KernelError, OSError) as error:
            if self._refused.get(name) != str(error):
                log_event(log, logging.ERROR, "attach_refused", str(error), interface=name)
                self._tell("detach", f"{name}: the program is not attached: {error}")
            self._refused[name] = str(error)
            return
        new = self._refused.pop(name, None) is not None or new
        how = "attached" if new else "the program had been taken off; it is attached again"
        log_event(log, logging.WARNING, "attach", f"{name}: {how}", interface=name, how="new" if new else "again")
        self._tell("attach", f"{name}: {how}")

    def warnings(self) -> list[str]:
        """Return what is wrong with the interfaces now."""
        return [problem.text for problem in self._seen.problems] + list(self._refused.values())
