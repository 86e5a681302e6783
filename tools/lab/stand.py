"""A lab in which everything runs: agents and web servers on the backends, the real daemon on the balancer.

The demo and the tests stand on it. All programs are started as a user starts them, through the command line.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tools.lab.net import Lab, address
from xdplb import decap, state
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


class Stand:
    """The processes in a lab. Names of pins and state come from the lab's prefix; `lab.down` removes them."""

    def __init__(self, lab: Lab, log: Path) -> None:
        """`log` takes what the daemon says."""
        self.lab, self.name, self.log = lab, lab.prefix, log
        self.client = Client(Target(self.name).socket)
        self.servers: dict[str, subprocess.Popen[str]] = {}
        self.daemon: subprocess.Popen[str] | None = None
        loader.mount_bpffs()
        self.forget()
        lab.on_down(self.forget)

    def forget(self) -> None:
        """Remove pins, sockets and state of the balancer and of every backend's agent."""
        for host in self.lab.backends:
            _remove(self._agent(host))
        self.forget_balancer()

    def forget_balancer(self) -> None:
        """Remove pins, socket and state of the balancer."""
        _remove(loader.Place(self.name))
        for file in (state.directory(self.name) / "state.json", state.directory(self.name) / "hash_key"):
            file.unlink(missing_ok=True)
        if state.directory(self.name).is_dir():
            state.directory(self.name).rmdir()

    # --- backends -------------------------------------------------------------------------------------------

    def _agent(self, host: str) -> loader.Place:
        return decap.place_for(f"{self.name}-{host}")

    def start_backends(self, hosts: Iterable[str]) -> None:
        """Start agent and web server on each; return when all of them work."""
        started = list(hosts)
        sources = [part for wire in ("lb", "lb2") for v in (4, 6) for part in ("--from", address(wire, v))]
        for host in started:
            argv = [*XDPLB, "decap", "run", "--name", f"{self.name}-{host}", "--interface", "eth0", *sources]
            self.lab.spawn(host, argv, cwd=ROOT, stdout=subprocess.DEVNULL)
            self.start_server(host)
        for host in started:
            wait_for(partial(self._agent_works, host), f"agent on {host}")

    def _agent_works(self, host: str) -> bool:
        return any(self._agent(host).pins.glob("link_*"))

    def start_server(self, host: str) -> None:
        """Start the web server and return when it listens."""
        argv = [sys.executable, "-m", "tools.lab.web", host]
        self.servers[host] = self.lab.spawn(host, argv, cwd=ROOT, stdout=subprocess.PIPE)
        stdout = self.servers[host].stdout
        assert stdout is not None
        if stdout.readline().strip() != "ready":
            raise RuntimeError(f"the web server on {host} did not start")

    def kill_server(self, host: str) -> None:
        """End the web server without a word, as a crash does."""
        self.servers[host].kill()
        self.servers[host].wait()

    def decapped(self, host: str) -> dict[str, int]:
        """Return the counters of a backend's agent."""
        return decap.read_counters(self._agent(host))

    # --- the balancer ---------------------------------------------------------------------------------------

    def start_daemon(self, config: Path, *options: str) -> float:
        """Start it and return after how many seconds it answered. Raises DaemonError with its last words."""
        began = time.monotonic()
        with self.log.open("a") as log:
            argv = [*XDPLB, "--name", self.name, "run", str(config), *options]
            self.daemon = self.lab.spawn("lb", argv, cwd=ROOT, stdout=log, stderr=log)
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
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def run(self, *arguments: str, timeout_s: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run an xdplb command on the balancer, to its end."""
        return self.lab.run("lb", [*XDPLB, "--name", self.name, *arguments], timeout=timeout_s, cwd=ROOT)

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

    # --- clients --------------------------------------------------------------------------------------------

    def start_load(self, report: Path, *options: str) -> subprocess.Popen[str]:
        """Start HTTP clients without pause; they report to a file."""
        sources = [part for source in self.lab.client_addresses for part in ("--source", source)]
        argv = [sys.executable, "-m", "tools.lab.load", "--report", str(report), *sources, *options]
        return self.lab.spawn("client", argv, cwd=ROOT)


def _remove(place: loader.Place) -> None:
    if place.pins.is_dir():
        loader.detach(place)
    place.remove()


def read_report(report: Path) -> list[dict[str, Any]]:
    """Return the lines of a load report so far."""
    if not report.exists():
        return []
    return [json.loads(line) for line in report.read_text().splitlines(keepends=True) if line.endswith("\n")]
