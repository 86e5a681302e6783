"""`xdplb run` refuses what cannot work: one line, status 2, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.packaging.test_systemd import setting
from tests.rig.net import QUICKSTART
from tools.lab.stand import ROOT, Stand, wait_for
from xdplb.cli.run import STUCK_S, _keep_telling
from xdplb.config import parse_config
from xdplb.daemon import Daemon
from xdplb.dataplane import loader, syscall

WEB = '[[service]]\nname = "web"\nvips = ["10.9.9.9:80"]\n'


def refused(stand: Stand, words: str, *arguments: str) -> None:
    """Assert that `run` says this, in one line, and leaves nothing."""
    done = stand.run("run", *arguments)
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert lines[-1].startswith("xdplb: ")
    assert words in lines[-1]
    assert len(lines) == 1
    assert list(loader.Place(stand.name).pins.glob("*")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[balancer]\ninterface = "eth7"\n' + WEB, "interface 'eth7' does not exist; there are: lo, eth0"),
        ('[balancer]\ninterface = "eth0"\n' + WEB + WEB, "two have the name 'web'"),
        ('[balancer]\ninterface = "eth0"\n' + WEB + "wieght = 1", "service.web.wieght: unknown key"),
        ("", "the file is empty"),
        ("<xml/>", "is not TOML"),
    ],
)
def test_bad_configurations(stand: Stand, config_file: Path, text: str, words: str) -> None:
    config_file.write_text(text)
    refused(stand, words, str(config_file))


@pytest.mark.root
def test_not_root() -> None:
    """In a user namespace without a map, everybody is nobody; files are as readable as before."""
    argv = ["unshare", "--user", sys.executable, "-m", "xdplb", "run", str(QUICKSTART)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    lacking = "xdplb: run lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, without which no XDP program is loaded; "
    assert done.stderr == f"{lacking}start it as root, or from the unit in packaging/systemd\n"


def test_already_running(running: Stand) -> None:
    done = running.run("run", str(QUICKSTART))
    assert running.daemon is not None
    assert done.returncode == 2
    assert f"is already running (pid {running.daemon.pid}); stop it first, or set another balancer.name" in done.stderr
    assert running.client.status()["pid"] == running.daemon.pid


def test_admin_socket_taken(stand: Stand) -> None:
    place = loader.Place(stand.name)
    place.make()
    (place.run / "admin.sock").write_text("")
    refused(stand, "admin.sock is taken (Address already in use); end the program", str(QUICKSTART))


def test_another_xdp_program_is_named_and_taken_off_only_when_told(stand: Stand) -> None:
    with stand.lab.inside("lb"):
        fd = syscall.load_xdp(bytes.fromhex("b700000002000000 9500000000000000"))
        link = syscall.link_create(fd, 2, "native")
    number = syscall.program(fd).id
    refused(
        stand, f"eth0 has another XDP program: id {number}, name ''; give --replace to take it off", str(QUICKSTART)
    )

    stand.start_daemon(QUICKSTART, "--replace")

    assert stand.client.status()["interface"]["program_id"] != number
    os.close(link)
    os.close(fd)


def test_a_mode_that_the_nic_cannot_do(stand: Stand, config_file: Path) -> None:
    config_file.write_text('[balancer]\ninterface = "eth0"\nmode = "offload"\n' + WEB)
    done = stand.run("run", str(config_file))
    assert done.returncode == 1
    assert 'set balancer.mode = "native" or use another NIC' in done.stderr
    assert "Traceback" not in done.stderr
    assert not loader.Place(stand.name).pins.exists()


def test_ctrl_c_in_the_middle_of_the_start_leaves_nothing_attached(stand: Stand) -> None:
    argv = [sys.executable, "-m", "xdplb", "--name", stand.name, "run", str(QUICKSTART)]
    place = loader.Place(stand.name)
    daemon = stand.lab.spawn("lb", argv, cwd=ROOT, stderr=subprocess.PIPE)
    wait_for(lambda: (place.run / "lock").exists(), "the lock", 5, 0.001)

    daemon.send_signal(2)

    _, err = daemon.communicate(timeout=10)
    assert "Traceback" not in err
    assert loader.attached(place, 2) is None
    stand.start_daemon(QUICKSTART)


def test_mtu_too_small_for_the_outer_header_is_a_warning_with_the_fix(stand: Stand) -> None:
    with stand.lab.inside("lb"):
        subprocess.run(["ip", "link", "set", "eth0", "mtu", "1500"], check=True)
    try:
        stand.start_daemon(QUICKSTART)
        (warning,) = stand.client.status()["warnings"]
    finally:
        with stand.lab.inside("lb"):
            subprocess.run(["ip", "link", "set", "eth0", "mtu", "1600"], check=True)
    assert "eth0 has MTU 1500, full-sized client packets need 1540: run `ip link set eth0 mtu 1540`" in warning


def only(capabilities: list[str]) -> list[str]:
    """Return what runs a program with these capabilities and no others, as a unit does."""
    names = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities)
    return ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set=-all,{names}"]


def test_as_its_unit_runs_it_from_start_to_detach(stand: Stand, config_file: Path, tmp_path: Path) -> None:
    """With the unit's capabilities, memory that is never code, a watchdog, a port for metrics, JSON logs."""
    metrics = '[metrics]\nlisten = "127.0.0.1:9110"\n'
    config_file.write_text(metrics + QUICKSTART.read_text())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        terms = [*only(setting("xdplb.service", "CapabilityBoundingSet")), sys.executable, "-c", NO_CODE_FROM_DATA]
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "150000"}
        options = ("--detach", "--log-format", "json")
        stand.start_daemon(config_file, *options, environment=variables, under=terms)

        assert manager.recv(1000).decode() == "READY=1\nSTATUS=3 of 3 backends of 1 services get new flows"
        told = {manager.recv(1000) for _ in range(3)}
        assert b"WATCHDOG=1" in told
        found = read_port(stand, "http://127.0.0.1:9110/metrics")
        assert 'xdplb_backend_up{service="web",backend="b1"} 1' in found
        assert read_port(stand, "http://127.0.0.1:9110/v1/status") == "404"
        assert read_port(stand, "http://127.0.0.1:9110/metrics", "POST") == "405"

        stand.stop_daemon()

        told = set()
        while b"STOPPING=1" not in told:
            told.add(manager.recv(1000))
    assert loader.attached(loader.Place(stand.name), 2) is None
    lines = [json.loads(line) for line in stand.log.read_text().splitlines() if line.startswith("{")]
    assert {"attach", "backend_state", "stop"} <= {line["event"] for line in lines}
    assert lines[-1]["left"] == "detached from 1 interface(s), nothing is forwarded"


NO_CODE_FROM_DATA = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN: not known before Linux 6.3
os.execvp(sys.argv[1], sys.argv[1:])
"""


def read_port(stand: Stand, url: str, method: str = "GET") -> str:
    """Return what a port on the balancer's host answers; of a refusal, its status."""
    with stand.lab.inside("lb"):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as got:
                return str(got.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.code)


def test_a_daemon_that_is_stuck_does_not_tell_the_watchdog_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in its way is a reconcile that does not end: its loop turns all the same."""

    async def scene() -> None:
        daemon = Daemon(Path("x.toml"), parse_config('[balancer]\ninterface = "lo"\nname = "test-stuck"\n' + WEB))
        daemon.went_round = time.monotonic() - STUCK_S
        telling = asyncio.create_task(_keep_telling(daemon))
        loop = asyncio.get_running_loop()
        told = [await asyncio.wait_for(loop.sock_recv(manager, 1000), 5)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(manager, 1000), 0.1)  # a third of the watchdog's time is 10 ms
        daemon.went_round = time.monotonic()
        told.append(await asyncio.wait_for(loop.sock_recv(manager, 1000), 5))
        telling.cancel()
        assert told == [b"STATUS=0 of 0 backends of 0 services get new flows", b"WATCHDOG=1"]

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000")
        asyncio.run(scene())
