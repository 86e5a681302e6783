"""A lab under load in which a scenario changes things: one balancer or two; four backends, three of them configured.

Checks go to a port of their own, so that a backend can be taken for down while its server and its flows live.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.consistency.judge import Judgement, judge
from tools.lab import web
from tools.lab.balancer import Balancer
from tools.lab.net import VIP4, VIP6, Lab, address
from tools.lab.stand import Stand, read_report, wait_for
from xdplb.dataplane.loader import Place
from xdplb.errors import XdplbError

CHECK_PORT = 8081
CONFIGURED, SPARE = ("b1", "b2", "b3"), "b4"


@dataclass(frozen=True, slots=True)
class Size:
    """How much happens, and for how long."""

    held: int
    new_per_s: float
    every_s: float  # in which each held flow asks once, so that it is silent for at most twice that
    window_s: float  # learn window


SMALL = Size(200, 100.0, 1.0, 5.0)
FULL = Size(500, 200.0, 5.0, 15.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A change, and in what surroundings. `breaks` None: it is counted and not judged."""

    name: str
    change: Callable[[Trial], None]
    breaks: bool | None = False  # what must be true of flows of live backends
    twin: bool = False
    second_chance: bool = False
    remembers: bool = True  # with a learn window at all

    def faults(self, found: Judgement, moving: int) -> list[str]:
        """Return what is not as it must be. `moving`: the most slots that were seen moving."""
        if self.breaks:
            return [] if found.broken else ["nothing broke, though nothing was kept: this measures nothing"]
        if not moving:
            return ["no slot moved: nothing was changed"]
        if self.breaks is None:
            return []
        return found.faults(stalls=not self.twin)  # what was on a wire that is cut is lost, and sent again


class Trial:
    """One scenario's surroundings."""

    def __init__(self, stand: Stand, folder: Path, scenario: Scenario, size: Size, seed: int) -> None:
        self.stand, self.lab, self.folder, self.size = stand, stand.lab, folder, size
        self.balancers = list(stand.balancers)  # those that live
        self.scenario, self.random = scenario, random.Random(seed)
        self.config, self.report = folder / "xdplb.toml", folder / "hold.jsonl"
        self.downs: dict[str, list[float]] = {}
        self.moving = 0  # the most slots that were seen moving
        self.said: list[str] = []
        self._checked: dict[str, subprocess.Popen[str]] = {}

    # --- set up ---------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Start everything but the clients."""
        chance = ["--second-chance", "--vip", VIP4, "--vip", VIP6]
        options = chance if self.scenario.second_chance else []
        self.stand.start_backends(self.lab.backends, *options)
        self._checked = web.start(self.lab, self.lab.backends, [CHECK_PORT])
        self.config.write_text(self.text())
        for balancer in self.balancers:
            balancer.start_daemon(self.config)
        for host in CONFIGURED:
            self.wait_state(host, "up")
        self.lab.route_vips(*(balancer.host for balancer in self.balancers))

    def text(self, *more: str) -> str:
        """Return the configuration, with more services behind."""
        service = {
            "name": "web",
            "vips": [f"{VIP4}:80", f"[{VIP6}]:80"],
            "learn_window_s": self.size.window_s if self.scenario.remembers else 0,
            **({"second_chance": True} if self.scenario.second_chance else {}),
        }
        rows = [f'{{ name = "{host}", address = "{address(host)}" }}' for host in CONFIGURED]
        lines = [
            '[balancer]\ninterface = "eth0"\nhash_key = "consistency"\n\n[[service]]',
            *(f"{key} = {json.dumps(value)}" for key, value in service.items()),
            f"check = {{ port = {CHECK_PORT}, interval_s = 0.3, timeout_s = 1, rise = 2, fall = 2 }}",
            f"backends = [{', '.join(rows)}]",
            *more,
        ]
        return "\n".join(lines) + "\n"

    # --- what a scenario does -------------------------------------------------------------------------------

    def tell(self, *arguments: str) -> None:
        """Run an xdplb command on every balancer. Raises XdplbError with its words."""
        for balancer in self.balancers:
            done = balancer.run(*arguments)
            if done.returncode:
                raise XdplbError(f"xdplb {' '.join(arguments)}: {done.stderr.strip()}")
        self.said.append(" ".join(arguments))
        self.look()

    def look(self) -> int:
        """Return how many slots are moving now, of all balancers."""
        services = (s for b in self.balancers for s in b.client.status()["services"])
        moving: int = sum(service["moving_slots"] for service in services)
        self.moving = max(self.moving, moving)
        return moving

    def wait_state(self, host: str, wanted: str) -> None:
        """Return when every balancer says so of a backend."""
        for balancer in self.balancers:
            balancer.wait_state(host, wanted)

    def wait_gone(self, host: str) -> None:
        """Return when no balancer knows a backend any more; a closed flow counts as gone after 30 s of silence."""

        def gone() -> bool:
            services = (s for b in self.balancers for s in b.client.status()["services"])
            return host not in [backend["name"] for service in services for backend in service["backends"]]

        wait_for(gone, f"{host} removed", 60.0, 0.1)

    def check_fails(self, host: str) -> None:
        """Have a backend seen down; its server goes on."""
        self._checked[host].kill()
        self._checked[host].wait()
        self.wait_state(host, "down")
        self.downs.setdefault(host, []).append(time.time())
        self.look()

    def check_passes(self, host: str) -> None:
        """Have it seen up again."""
        self._checked |= web.start(self.lab, [host], [CHECK_PORT])
        self.wait_state(host, "up")
        self.look()

    def let_run(self, seconds: float) -> None:
        """Let the clients go on for so long. Raises XdplbError when they ended."""
        until = time.monotonic() + seconds
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.hold.wait(until - time.monotonic())
            raise XdplbError(f"the clients ended with status {self.hold.returncode}")

    def renew(self) -> None:
        """Have every held flow opened anew, and return when that is done."""
        self.hold.send_signal(signal.SIGUSR1)
        self.let_run(2 * self.size.every_s)

    def standing(self) -> dict[str, int]:
        """Return how many held flows each backend has, as of the last second."""
        seconds = [line for line in read_report(self.report) if not line.get("total")]
        found: dict[str, int] = seconds[-1]["standing"] if seconds else {}
        return found

    def settle(self) -> None:
        """Let the clients go on until no slot is moving, and then until each held flow has shown that it lives."""
        until = time.monotonic() + self.size.window_s + 2
        while self.look() and time.monotonic() < until:
            self.let_run(0.1)
        self.let_run(2 * self.size.every_s)

    def restart(self, how: Callable[[Balancer], None], environment: Mapping[str, str] | None = None) -> None:
        """End every daemon and start it again."""
        for balancer in self.balancers:
            how(balancer)
        self.let_run(0.5)  # without a daemon
        for balancer in self.balancers:
            balancer.start_daemon(self.config, environment=environment)
        self.look()

    def lose_balancer(self) -> None:
        """Cut the first balancer off and end its daemon; the other one goes on alone."""
        lost = self.balancers.pop(0)
        self.lab.vanish(lost.host)
        lost.kill_daemon()

    def layouts(self) -> set[str]:
        """Return the names of the pinned layouts."""
        return {path.name for path in Place(self.stand.name).pins.iterdir() if path.is_dir()}

    def program_id(self) -> int:
        """Return the attached program's."""
        found: int = self.stand.client.status()["interface"]["program_id"]
        return found

    # --- the whole ------------------------------------------------------------------------------------------

    def run(self) -> Judgement:
        """Hold, change, settle, judge."""
        size = self.size
        urls = ["--url", f"http://{VIP4}/", "--url", f"http://[{VIP6}]/"]
        amounts = {"--held": size.held, "--every": size.every_s, "--new": size.new_per_s, "--seed": 1}
        options = [text for key, value in amounts.items() for text in (key, str(value))]
        self.hold = self.stand.start_hold(self.report, *urls, *options)
        wait_for(lambda: sum(self.standing().values()) == size.held, f"{size.held} held flows", 15.0, 0.05)
        self.let_run(size.every_s)  # so that requests are spread when the change comes
        self.scenario.change(self)
        self.settle()
        self.hold.terminate()
        self.hold.wait(10)
        return judge(read_report(self.report), self.downs)


@contextlib.contextmanager
def trial(scenario: Scenario, size: Size, folder: Path, prefix: str, seed: int = 1) -> Iterator[Trial]:
    """Build a scenario's surroundings, and take them down at the end."""
    with Lab(prefix, backends=len(CONFIGURED) + 1) as lab:
        stand = Stand(lab, folder / "daemon.log")
        if scenario.twin:
            stand.add_twin()
        made = Trial(stand, folder, scenario, size, seed)
        made.set_up()
        yield made


def other_layout(source: Path, folder: Path) -> Path:
    """Copy the BPF sources with one more reason at the end of `struct verdicts`; returns where they are."""
    copy = folder / "bpf"
    shutil.copytree(source, copy)
    before, head, after = (copy / "maps.h").read_text().partition("struct verdicts {")
    fields, end, rest = after.partition("\n};")
    (copy / "maps.h").write_text(f"{before}{head}{fields}\n\t__u64 dropped_tomorrow; /* one more */{end}{rest}")
    return copy
