"""`xdplb run` refuses what cannot work: one line, status 2, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.net import QUICKSTART
from tools.lab.stand import ROOT, Stand, wait_for
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
    assert done.stderr == "xdplb: run needs root: it loads an XDP program (CAP_BPF, CAP_NET_ADMIN)\n"


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
