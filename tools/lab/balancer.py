"""One balancer in a lab: its daemon and its commands, started as a user starts them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tools.lab.net import Lab
from xdplb import state, tunnel
from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.dataplane import loader
from xdplb.errors import DaemonError

ROOT = Path(__file__).resolve().parents[2]
XDPLB = (sys.executable, "-m", "xdplb")
_Found = TypeVar("_Found")


def wait_for(
    condition: Callable[[], _Found | None], what: str, timeout_s: float = 10.0, every_s: float = 0.01
) -> _Found:
    """Return the first true result of `condition`, or raise TimeoutError that says what was awaited."""
    until = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)


class Balancer:
    """The daemon on one host. Its pins and state have a name of their own."""

    def __init__(self, lab: Lab, log: Path, host: str, name: str) -> None:
        """`log` takes what the daemon says."""
        self.lab, self.log, self.host, self.name = lab, log, host, name
        self.client = Client(Target(name).socket)
        self.daemon: subprocess.Popen[str] | None = None

    def forget_balancer(self) -> None:
        """Remove pins, socket and state of the balancer."""
        if loader.Place(self.name).pins.is_dir():
            with self.lab.inside(self.host):
                asyncio.run(tunnel.detach(loader.Place(self.name)))
        remove(loader.Place(self.name))
        shutil.rmtree(state.directory(self.name), ignore_errors=True)

    def start_daemon(
        self,
        config: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> float:
        """Start it and return after how many seconds it answered. Raises DaemonError with its last words.

        `environment`: variables besides this process's own. `under`: a command that runs it, such as setpriv.
        """
        began = time.monotonic()
        with self.log.open("a") as log:
            argv = [*under, *XDPLB, "--name", self.name, "run", str(config), *options]
            variables = {**os.environ, **(environment or {})}
            self.daemon = self.lab.spawn(self.host, argv, cwd=ROOT, stdout=log, stderr=log, env=variables)
        wait_for(self._answers, "the daemon", 20.0, 0.005)
        return time.monotonic() - began

    def _answers(self) -> bool:
        if self.daemon is None or self.daemon.poll() is not None:
            raise DaemonError(f"the daemon ended: {self.log.read_text().strip().splitlines()[-1:]}")
        try:
            return bool(self.client.status())
        except DaemonError:
            return False

    def kill_daemon(self) -> None:
        """SIGKILL: no chance to clean anything up."""
        self._end_daemon(signal.SIGKILL)

    def stop_daemon(self) -> None:
        """SIGTERM: as an operator or a supervisor ends it."""
        self._end_daemon(signal.SIGTERM)

    def _end_daemon(self, number: signal.Signals) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(number)
        self.daemon.wait(10)

    def run(self, *arguments: str, timeout_s: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run an xdplb command on the balancer, to its end."""
        return self.lab.run(self.host, [*XDPLB, "--name", self.name, *arguments], timeout=timeout_s, cwd=ROOT)

    def backend(self, name: str) -> dict[str, Any]:
        """Return a backend of the first service from the status document."""
        for backend in self.client.status()["services"][0]["backends"]:
            if backend["name"] == name:
                found: dict[str, Any] = backend
                return found
        raise KeyError(name)

    def wait_state(self, name: str, wanted: str, timeout_s: float = 10.0) -> float:
        """Return the time (of day) at which the daemon said that this backend has this state."""
        wait_for(lambda: self.backend(name)["state"] == wanted, f"{name} {wanted}", timeout_s)
        return time.time()


def remove(place: loader.Place) -> None:
    """Detach what is attached by the pins of a place, and remove them."""
    if place.pins.is_dir():
        loader.detach(place)
    place.remove()
