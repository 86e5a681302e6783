"""A lab in which everything runs: agents and web servers on the backends, the real daemon on the balancer.

The demo and the tests stand on it. All programs are started as a user starts them, through the command line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tools.lab.balancer import ROOT, XDPLB, Balancer, remove, wait_for
from tools.lab.net import Lab, address
from xdplb import decap
from xdplb.dataplane import loader

__all__ = ["ROOT", "XDPLB", "Stand", "read_report", "wait_for"]

BALANCERS = ("lb", "lb2", "twin")  # wires by which packets come to backends


class Stand(Balancer):
    """The processes in a lab. Names of pins and state come from the lab's prefix; `lab.down` removes them."""

    def __init__(self, lab: Lab, log: Path) -> None:
        """`log` takes what the daemon says."""
        super().__init__(lab, log, "lb", lab.prefix)
        self.servers: dict[str, subprocess.Popen[str]] = {}
        self.twin: Balancer | None = None
        loader.mount_bpffs()
        self.forget()
        lab.on_down(self.forget)

    def forget(self) -> None:
        """Remove pins, sockets and state of the balancers and of every backend's agent."""
        for host in self.lab.backends:
            remove(self._agent(host))
        for balancer in self.balancers:
            balancer.forget_balancer()

    @property
    def balancers(self) -> list[Balancer]:
        """The balancer, and the second one if there is one."""
        return [self, self.twin] if self.twin else [self]

    def add_twin(self) -> Balancer:
        """Add the second balancer, host and all; no daemon runs there, and no VIP leads there yet."""
        self.twin = Balancer(self.lab, self.log.with_name("twin.log"), self.lab.add_twin(), f"{self.name}-twin")
        self.twin.forget_balancer()
        return self.twin

    # --- backends -------------------------------------------------------------------------------------------

    def _agent(self, host: str) -> loader.Place:
        return decap.place_for(f"{self.name}-{host}")

    def start_backends(self, hosts: Iterable[str], *options: str) -> None:
        """Start agent and web server on each; return when all of them work. `options` are the agents'."""
        started = list(hosts)
        for host in started:
            if "--second-chance" in options:
                self.lab.take_tx(host)
            self.spawn_agent(host, *options, stdout=subprocess.DEVNULL)
            self._spawn_server(host)
        for host in started:
            self._wait_server(host)
            self.wait_agent(host)

    def spawn_agent(self, host: str, *options: str, **popen: Any) -> subprocess.Popen[str]:
        """Start an agent, which replaces the one that is there."""
        sources = [part for wire in BALANCERS for v in (4, 6) for part in ("--from", address(wire, v))]
        argv = [*XDPLB, "decap", "run", "--name", f"{self.name}-{host}", "--interface", "eth0", *sources, *options]
        return self.lab.spawn(host, argv, cwd=ROOT, **popen)

    def wait_agent(self, host: str) -> None:
        """Return when the agent's program is attached."""
        wait_for(partial(self._agent_works, host), f"agent on {host}")

    def _agent_works(self, host: str) -> bool:
        return any(self._agent(host).pins.glob("link_*"))

    def start_server(self, host: str) -> None:
        """Start the web server and return when it listens."""
        self._spawn_server(host)
        self._wait_server(host)

    def _spawn_server(self, host: str) -> None:
        argv = [sys.executable, "-m", "tools.lab.web", host]
        self.servers[host] = self.lab.spawn(host, argv, cwd=ROOT, stdout=subprocess.PIPE)

    def _wait_server(self, host: str) -> None:
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

    # --- clients --------------------------------------------------------------------------------------------

    def start_load(self, report: Path, *options: str) -> subprocess.Popen[str]:
        """Start HTTP clients without pause; they report to a file."""
        return self._start_clients("tools.lab.load", report, *options)

    def start_hold(self, report: Path, *options: str) -> subprocess.Popen[str]:
        """Start clients that hold their connections; they report to a file."""
        return self._start_clients("tools.lab.hold", report, *options)

    def _start_clients(self, module: str, report: Path, *options: str) -> subprocess.Popen[str]:
        sources = [part for source in self.lab.client_addresses for part in ("--source", source)]
        argv = [sys.executable, "-m", module, "--report", str(report), *sources, *options]
        return self.lab.spawn("client", argv, cwd=ROOT)


def read_report(report: Path) -> list[dict[str, Any]]:
    """Return the lines of a load report so far."""
    if not report.exists():
        return []
    return [json.loads(line) for line in report.read_text().splitlines(keepends=True) if line.endswith("\n")]
