"""A backend's server dies under load: how long clients notice it, what else moves, and what a restart remembers.

client ── router ─┬─ lb   probes go through the tunnel to the VIP, as clients' packets do
                  ├─ b1 … b4
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.admin.test_server import request
from tests.rig.traffic import unique
from tools.lab.net import VIP4, Lab, address
from tools.lab.stand import Stand, read_report, wait_for
from xdplb.dataplane import syscall
from xdplb.errors import DaemonError

RATE = 2000  # requests a second
INTERVAL_S, TIMEOUT_S, FALL = 0.2, 0.2, 2


def config(check: str, more: str = "") -> str:
    names = ("b1", "b2", "b3", "b4")
    backends = ", ".join(f'{{ name = "{name}", address = "{address(name)}" }}' for name in names)
    return (
        f'[balancer]\ninterface = "eth0"\n[[service]]\nname = "web"\nvips = ["{VIP4}:80"]\n'
        f"backends = [{backends}]\n{more}\ncheck = {{ {check} }}\n"
    )


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Four backends that serve, and no daemon yet."""
    with Lab(unique("health"), backends=4) as lab:
        stand = Stand(lab, tmp_path_factory.mktemp("health") / "daemon.log")
        stand.start_backends(lab.backends)
        yield stand


@pytest.fixture
def start(four: Stand, tmp_path: Path) -> Iterator[Any]:
    """How to start the daemon with a configuration; afterwards it is gone, and all servers run."""

    def started(text: str) -> Stand:
        file = tmp_path / "xdplb.toml"
        file.write_text(text)
        four.start_daemon(file)
        for host in four.lab.backends:
            four.wait_state(host, "up")
        return four

    yield started
    if four.daemon is not None and four.daemon.poll() is None:
        four.kill_daemon()
    four.forget_balancer()
    for host, server in four.servers.items():
        if server.poll() is not None:
            four.start_server(host)


def kill_under_load(stand: Stand, report: Path, host: str) -> tuple[float, float, list[dict[str, Any]]]:
    """Kill a server under load; return how long after it the first and the last failure came, and all of them."""
    options = ("--url", f"http://{VIP4}/", "--rate", str(RATE), "--workers", "32", "--timeout", "1")
    load = stand.start_load(report, *options)
    wait_for(lambda: len(read_report(report)) >= 2, "load")
    killed = time.time()
    stand.kill_server(host)
    stand.wait_state(host, "down")
    seen = len(read_report(report))
    wait_for(lambda: len(read_report(report)) >= seen + 2, "load after it")
    load.terminate()
    load.wait(5)
    failures = [failure for line in read_report(report)[:-1] for failure in line["failures"]]
    times = [failure["at"] - killed for failure in failures]
    assert times, "nobody noticed that the server died"
    return min(times), max(times), failures


@pytest.mark.alone
@pytest.mark.parametrize("through", ["direct", "tunnel"])
def test_failures_end_when_the_check_has_fallen_and_only_the_deads_slots_move(
    start: Any, tmp_path: Path, through: str
) -> None:
    check = f'through = "{through}", interval_s = {INTERVAL_S}, fast_interval_s = {INTERVAL_S}'
    stand = start(config(f"{check}, timeout_s = {TIMEOUT_S}, fall = {FALL}"))
    before = {name: stand.backend(name)["slots"] for name in stand.lab.backends}

    _, last_s, _ = kill_under_load(stand, tmp_path / "report", "b2")

    assert last_s < FALL * INTERVAL_S * 1.1 + TIMEOUT_S + 0.05  # intervals are jittered by a tenth
    service = stand.client.status()["services"][0]
    assert service["moving_slots"] == before["b2"]
    assert all(stand.backend(name)["slots"] >= before[name] for name in ("b1", "b3", "b4"))


@pytest.mark.alone
def test_evidence_from_traffic_ends_failures_long_before_the_next_probes(start: Any, tmp_path: Path) -> None:
    stand = start(config('through = "tunnel", interval_s = 10, timeout_s = 1, fall = 3', "passive = true"))

    first_s, last_s, failures = kill_under_load(stand, tmp_path / "report", "b2")

    assert last_s - first_s < 0.15, (first_s, last_s, len(failures))
    told = stand.run("events").stdout.splitlines()[-1]
    assert "web/b2 is down: " in told
    assert "; then tcp " in told  # the evidence, and the probe that decided


def test_a_killed_daemon_comes_back_with_what_it_knew(start: Any, tmp_path: Path) -> None:
    stand = start(config('through = "tunnel", interval_s = 600, fall = 1', "passive = true"))
    stand.kill_server("b3")
    report = json.dumps([{"service": "web", "backend": "b3", "ok": 0, "failed": 1}])
    assert request(stand, "POST", "/v1/evidence", report)[0] == 200
    stand.wait_state("b3", "down")
    stand.run("backend", "drain", "b1")
    before = {name: stand.backend(name) for name in stand.lab.backends}
    wait_for(lambda: "refused" in state_of(stand).read_text(), "the state on disk")

    stand.kill_daemon()
    stand.start_daemon(tmp_path / "xdplb.toml")

    after = {name: stand.backend(name) for name in stand.lab.backends}
    for name in stand.lab.backends:
        assert (after[name]["state"], after[name]["slots"]) == (before[name]["state"], before[name]["slots"])
        assert [c["since"] for c in after[name]["checks"]] == [c["since"] for c in before[name]["checks"]]
        assert [c["at"] for c in after[name]["checks"]] == [None]  # no burst: each one's turn comes within its interval
    assert stand.client.status()["start"]["writes"] == 0


def test_a_start_that_fails_forgets_nothing(start: Any, tmp_path: Path) -> None:
    stand = start(config("interval_s = 600"))
    stand.stop_daemon()
    before = json.loads(state_of(stand).read_text())["checks"]
    assert len(before) == 4
    stand.run("detach")
    with stand.lab.inside("lb"):  # somebody else's program: the start is refused
        fd = syscall.load_xdp(bytes.fromhex("b700000002000000 9500000000000000"))
        link = syscall.link_create(fd, 2, "native")
    with pytest.raises(DaemonError, match="another XDP program"):
        stand.start_daemon(tmp_path / "xdplb.toml")
    os.close(link)
    os.close(fd)
    assert json.loads(state_of(stand).read_text())["checks"] == before


def test_a_program_that_somebody_took_off_is_put_back_and_until_then_nobody_is_blamed(start: Any) -> None:
    stand = start(config('through = "tunnel", interval_s = 600'))
    tc = ["tc", "qdisc", "del", "dev", "eth0", "clsact"]
    assert stand.lab.run("lb", tc).returncode == 0
    there = ["tc", "filter", "show", "dev", "eth0", "egress"]
    wait_for(lambda: "xdplb:" in stand.lab.run("lb", there).stdout, "the filter", 20)
    assert stand.run("check", "b1").returncode == 0


def state_of(stand: Stand) -> Path:
    from xdplb import state

    return state.directory(stand.name) / "state.json"
