"""The main job on real traffic, in front of the reader: `make demo`.

A network of namespaces, the real daemon with `examples/quickstart.toml`, real web servers, real HTTP clients that
never pause. A server is killed, comes back, a fourth is added, the daemon is killed and started again. At the end a
table says what was met, and the exit status is 0 only if every number is as it must be.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from tools.lab.net import VIP4, VIP6, Lab, address
from tools.lab.stand import ROOT, Stand, read_report, wait_for
from xdplb.admin.client import Client
from xdplb.dataplane import syscall
from xdplb.errors import XdplbError

CONFIG = ROOT / "examples/quickstart.toml"
ENOUGH = 20_000  # connections in a phase whose shares are judged: chance alone stays well within 5 %
TIMEOUT_S = 2.0  # of one request


@dataclass
class Count:
    """What the router has sent to the balancer so far, what its NIC has received, and what it has counted."""

    sent: int
    received: int
    forwarded: int
    verdicts: dict[str, int]
    per_backend: dict[str, int]
    connections: dict[str, int]

    @property
    def accounted(self) -> int:
        """Packets with a destination or a reason."""
        return self.forwarded + sum(self.verdicts.values())


def count(stand: Stand) -> Count:
    """Read all counters at a moment in which nothing moves."""

    def read() -> Count:
        status = stand.client.status()
        backends = status["services"][0]["backends"]
        return Count(
            stand.lab.counters("router", "lb").tx_packets,
            status["interface"]["rx_packets"],
            status["forwarded"]["packets"],
            status["verdicts"],
            {b["name"]: b["packets"] for b in backends},
            {b["name"]: b["connections"] for b in backends},
        )

    def quiet() -> Count | None:
        before = read()
        time.sleep(0.02)
        return before if before == read() else None

    return wait_for(quiet, "a quiet moment", 10.0)


@dataclass
class Phase:
    """A part of the demo: its name, when it began, what the balancer had counted by then."""

    name: str
    began: float
    connections: dict[str, int] = field(default_factory=dict)


class Demo:
    """The scenario. `say` shows a line; `phases` and `facts` are what the table is made of."""

    def __init__(self, stand: Stand, folder: Path) -> None:
        self.stand, self.report = stand, folder / "load.jsonl"
        self.quiet = False
        self.lines: list[str] = []
        self.step = ""
        self.phases: list[Phase] = []
        self.facts: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """Tell the reader what happens; while the live screen is on, the first clause there and all afterwards."""
        self.step = text.split(":")[0].split(",")[0]
        self.lines.append(f"{time.strftime('%H:%M:%S')}  {text}")
        if not self.quiet:
            click.echo(self.lines[-1])

    # --- the steps ------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Everything but the clients."""
        stand = self.stand
        stand.start_backends(stand.lab.backends)
        self.facts["start_s"] = stand.start_daemon(CONFIG)
        for host in stand.lab.backends:
            stand.wait_state(host, "up")
        self.say(
            f"the daemon balances {self.facts['start_s']:.2f} s after its start; {', '.join(stand.lab.backends)} are up"
        )

    def play(self) -> None:
        """The scenario, from the first client to the last."""
        stand = self.stand
        self.facts["before"] = count(stand)
        options = ["--url", f"http://{VIP4}/", "--url", f"http://[{VIP6}]/", "--workers", "8", "--rate", "2500"]
        load = stand.start_load(self.report, *options)
        stats = syscall.enable_stats()
        try:
            self._scenes()
            self.facts["ns"] = self._time_program()
        finally:
            os.close(stats)
            load.send_signal(signal.SIGTERM)
            load.wait(10)
        self.begin("after")
        self.facts["after"] = count(stand)
        self.facts["decapped"], self.facts["probes"] = self._taken()
        self.facts["nic_errors"] = stand.client.status()["interface"]["xdp_tx_errors"]

    def _taken(self) -> tuple[dict[str, int], int]:
        """Return what each agent has taken off, and how much of it all were probes, at a moment between two of them."""

        def read() -> tuple[dict[str, int], int]:
            taken = {host: self.stand.decapped(host)["packets"] for host in self.stand.lab.backends}
            return taken, (self.stand.client.status()["probes"] or {"sent": 0})["sent"]

        return wait_for(lambda: now if (now := read()) == read() else None, "counters that stand still")

    def _scenes(self) -> None:
        stand = self.stand
        self.begin("three backends")
        self.say("clients ask without pause, over IPv4 and IPv6")
        self._connections(ENOUGH)

        self.begin("b2 killed")
        before = stand.backend("b1")["slots"], stand.backend("b3")["slots"]
        self.facts["killed"] = time.time()
        stand.kill_server("b2")
        self.facts["down"] = stand.wait_state("b2", "down")
        slots = {b["name"]: b["slots"] for b in stand.client.status()["services"][0]["backends"]}
        took = self.facts["down"] - self.facts["killed"]
        self.say(f"b2's server was killed and seen down {took:.2f} s later: {stand.backend('b2')['reason']}")
        self.say(
            f"only its slots moved: b1 {before[0]} → {slots['b1']}, b2 → {slots['b2']}, b3 {before[1]} → {slots['b3']}"
        )
        self.begin("b2 down")
        self._wait(3)

        stand.start_server("b2")
        stand.wait_state("b2", "up")
        self.begin("b2 back")
        self.say("b2's server is back, and up")
        self._wait(3)

        stand.lab.add_backend()
        stand.start_backends(["b4"])
        self.begin("b4 added")
        done = stand.run("backend", "add", "web", address("b4"), "--backend-name", "b4")
        self.say(f"`xdplb backend add web {address('b4')}`: {done.stdout.strip().splitlines()[-1]}")
        stand.wait_state("b4", "up")
        self.begin("four backends")
        self._connections(ENOUGH)

        self.begin("daemon dead")
        stand.kill_daemon()
        self.say("the daemon was killed (SIGKILL); nobody is told")
        self._wait(5)
        stand.start_daemon(CONFIG)
        self.begin("daemon back")
        start = stand.client.status()["start"]
        self.facts["restart"] = start
        self.say(f"the daemon is back: adopted {start['adopted']}, its reconcile wrote {start['writes']} map entries")
        self._wait(3)

    def begin(self, name: str) -> None:
        """Begin a phase."""
        backends = self.stand.client.status()["services"][0]["backends"]
        self.phases.append(Phase(name, time.time(), {b["name"]: b["connections"] for b in backends}))

    def _connections(self, number: int) -> None:
        """Wait until so many new connections have been made in this phase."""
        before = sum(self.phases[-1].connections.values())

        def made() -> bool:
            return bool(self.stand.client.status()["forwarded"]["connections"] - before >= number)

        wait_for(made, f"{number} connections", 60.0, 0.2)

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def _time_program(self) -> tuple[int, float]:
        """Return how often the attached program ran since it is timed, and ns per run."""
        program = syscall.program_by_id(self.stand.client.status()["interface"]["program_id"])
        return program.runs, program.run_ns / max(1, program.runs)


# --- the table ----------------------------------------------------------------------------------------------


def failures(demo: Demo) -> dict[str, list[dict[str, Any]]]:
    """Return the failed requests by phase, by the time at which each began."""
    found: dict[str, list[dict[str, Any]]] = {phase.name: [] for phase in demo.phases}
    for line in read_report(demo.report):
        for failure in line["failures"] if not line.get("total") else []:
            began = failure["at"] - (TIMEOUT_S if failure["kind"] == "timeout" else 0)
            phase = [p for p in demo.phases if p.began <= began] or demo.phases[:1]
            found[phase[-1].name].append(failure)
    return found


def shares(demo: Demo, name: str) -> dict[str, float]:
    """Return each backend's share of the new connections of a phase."""
    number = next(i for i, phase in enumerate(demo.phases) if phase.name == name)
    first, last = demo.phases[number].connections, demo.phases[number + 1].connections
    made = {backend: last[backend] - first.get(backend, 0) for backend in first}
    return {backend: n / max(1, sum(made.values())) for backend, n in made.items()}


def checks(demo: Demo) -> list[tuple[str, str, bool]]:
    """Return (what, value, as it must be) of everything that decides the exit status."""
    facts, before, after = demo.facts, demo.facts["before"], demo.facts["after"]
    total = read_report(demo.report)[-1]
    failed = failures(demo)
    outside = sum(len(f) for name, f in failed.items() if name != "b2 killed")
    sent, received = after.sent - before.sent, after.received - before.received
    accounted = after.accounted - before.accounted
    forwarded = {host: after.per_backend[host] for host in demo.stand.lab.backends}
    rows = [
        ("requests", f"{total['requests']:,}", total["requests"] >= 20_000),
        ("failures outside the kill", f"{outside}", outside == 0),
        ("failures while b2's death was unseen", f"{len(failed['b2 killed'])}", True),
        (
            "backends in answers",
            ", ".join(sorted(total["backends"])),
            sorted(total["backends"]) == demo.stand.lab.backends,
        ),
    ]
    for name in ("three backends", "four backends"):
        found = shares(demo, name)
        worst = max(abs(share * len(found) - 1) for share in found.values())
        text = ", ".join(f"{backend} {share:.1%}" for backend, share in found.items())
        rows.append((f"shares, {name}", f"{text} (at most {worst:.1%} off)", worst <= 0.05))
    reasons = ", ".join(f"{r} {n - before.verdicts[r]:,}" for r, n in after.verdicts.items() if n > before.verdicts[r])
    return [
        *rows,
        ("packets received by the balancer", f"{received:,} (the router sent {sent:,})", received == sent),
        ("of these forwarded", f"{after.forwarded - before.forwarded:,}", True),
        ("passed or dropped", reasons or "none", True),
        ("unaccounted for", f"{received - accounted}", received == accounted),
        ("balancer's own count per backend", f"{forwarded}", True),
        (
            "backends' own count",
            f"{facts['decapped']}, of these {facts['probes']:,} of probes",
            sum(forwarded.values()) + facts["probes"] == sum(facts["decapped"].values()),
        ),
        ("errors of the balancer's NIC", f"{facts['nic_errors']}", facts["nic_errors"] == 0),
        ("entries written by the restarted daemon", f"{facts['restart']['writes']}", facts["restart"]["writes"] == 0),
        ("the program, as run", f"{facts['ns'][1]:.0f} ns per packet, {facts['ns'][0]:,} runs, with cold caches", True),
    ]


def show(demo: Demo) -> bool:
    """Print the table; tell whether every number is as it must be."""
    click.echo()
    rows = checks(demo)
    for what, value, right in rows:
        mark = click.style("ok  ", fg="green") if right else click.style("FAIL", fg="red")
        click.echo(f"  {mark} {what:40} {value}")
    for name, found in failures(demo).items():
        kinds = sorted({failure["kind"] for failure in found})
        if found:
            click.echo(f"       failures in phase {name!r}: {len(found)} ({', '.join(kinds)})")
    return all(right for _, _, right in rows)


# --- in front of the reader ---------------------------------------------------------------------------------


class _Over(Exception):
    """The scenario has ended: the live screen may close."""


def play_on_screen(demo: Demo) -> None:
    """Play while `xdplb top`'s screen shows it, with the current step in its head."""
    from xdplb.tui import screen

    problem: list[BaseException] = []
    demo.quiet = True

    def scenario() -> None:
        try:
            demo.play()
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=scenario, daemon=True)

    class Shown(Client):
        """The daemon, with the step in place of its name, for as long as there are steps."""

        def status(self, timeout_s: float | None = None) -> dict[str, Any]:
            if not thread.is_alive():
                raise _Over
            return {**super().status(timeout_s), "name": f"demo: {demo.step}"}

    thread.start()
    shown = len(demo.lines)
    with contextlib.suppress(_Over):
        screen.run(Shown(demo.stand.client.path))
    click.echo("\n".join(demo.lines[shown:]))
    if thread.is_alive():
        raise KeyboardInterrupt
    if problem:
        raise problem[0]


def main() -> None:
    """Run the demo."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xdplb-demo-")))
        lab = Lab("xdplb-demo")
        stand = Stand(lab, folder / "daemon.log")
        stack.enter_context(lab)
        demo = Demo(stand, folder)
        demo.say("a network of namespaces: client, router, balancer, three backends")
        try:
            demo.set_up()
            if sys.stdout.isatty():
                play_on_screen(demo)
            else:
                demo.play()
        except TimeoutError as error:
            click.echo((folder / "daemon.log").read_text(), err=True)
            raise XdplbError(str(error)) from None
        right = show(demo)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except XdplbError as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(error.status)
