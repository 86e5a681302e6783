"""`run --confirm`: whatever becomes of the daemon, what nobody confirmed is taken back, and what was before is back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.rig.net import QUICKSTART
from tools.lab.stand import Stand, wait_for
from xdplb.dataplane import loader, syscall
from xdplb.dataplane.undo import linked
from xdplb.errors import DaemonError

OTHER_CODE = {"balancer": "vlan = true\n"}
OTHER_TABLES = {"service": "limits = { packets_per_s = 1000000 }\n"}


def place(stand: Stand) -> loader.Place:
    return loader.Place(stand.name)


def attached(stand: Stand) -> dict[int, int]:
    """The program on each interface."""
    return {index: link.program_id for index, link in linked(place(stand)).items()}


def pins(stand: Stand) -> set[str]:
    while True:
        with contextlib.suppress(FileNotFoundError):  # a folder went while we looked into it
            return {str(path.relative_to(place(stand).pins)) for path in place(stand).pins.rglob("*")}


def gone(stand: Stand, timeout_s: float) -> None:
    """Wait until nothing is attached any more; nothing is left then."""
    wait_for(lambda: not attached(stand), "the program off", timeout_s)
    wait_for(lambda: pins(stand) == set(), "all pins gone", 2)


def ended(stand: Stand, timeout_s: float = 10.0) -> int:
    assert stand.daemon is not None
    return stand.daemon.wait(timeout_s)


def changed(tmp_path: Path, balancer: str = "", service: str = "") -> Path:
    """The quickstart with something more."""
    config = tmp_path / "changed.toml"
    text = QUICKSTART.read_text().replace("[balancer]\n", f"[balancer]\n{balancer}", 1)
    config.write_text(text.replace('name = "web"\n', f'name = "web"\n{service}', 1))
    return config


def test_what_nobody_confirms_is_taken_off_and_the_daemon_ends_with_the_reason(stand: Stand) -> None:
    stand.start_daemon(QUICKSTART, "--confirm", "2s")
    assert attached(stand)
    unconfirmed = stand.client.status()["unconfirmed"]
    assert 0 < unconfirmed["left_s"] <= 2
    assert "unconfirmed: detaches in " in stand.run("status").stdout

    assert ended(stand) == 1

    assert stand.log.read_text().splitlines()[-1] == "xdplb: not confirmed within 2 s: eth0: the program is off"
    gone(stand, 0.1)


def test_what_is_confirmed_in_time_stays_also_after_a_restart(stand: Stand) -> None:
    stand.start_daemon(QUICKSTART, "--confirm", "3")
    began = time.monotonic()

    done = stand.run("confirm")

    assert (done.returncode, done.stdout) == (0, "confirmed: it stays\n")
    assert stand.client.status()["unconfirmed"] is None
    assert stand.run("confirm").stdout == "nothing waits for it: everything stays anyway\n"
    before = attached(stand)
    time.sleep(max(0.0, began + 3.5 - time.monotonic()))  # the time that it had
    stand.kill_daemon()
    assert attached(stand) == before
    stand.start_daemon(QUICKSTART, "--confirm", "3")
    assert stand.client.status()["unconfirmed"] is None
    assert "there is nothing to confirm" in stand.log.read_text()
    stand.kill_daemon()
    assert attached(stand) == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_ends_unconfirmed_takes_its_program_along(stand: Stand, how: signal.Signals) -> None:
    stand.start_daemon(QUICKSTART, "--confirm", "1h")
    assert stand.daemon is not None

    stand.daemon.send_signal(how)

    gone(stand, 3)
    assert ended(stand) == (0 if how is signal.SIGTERM else -how)
    if how is signal.SIGTERM:
        assert "stopped; unconfirmed: eth0: the program is off" in stand.log.read_text()
    else:
        words = "the daemon has ended before `xdplb confirm`: undone eth0: the program is off"
        wait_for(lambda: words in stand.log.read_text(), "the guardian's words", 2)
    stand.start_daemon(QUICKSTART)
    assert attached(stand)


def test_a_stopped_daemon_loses_its_program_in_time_and_ends_when_it_goes_on(stand: Stand) -> None:
    stand.start_daemon(QUICKSTART, "--confirm", "2s")
    assert stand.daemon is not None

    stand.daemon.send_signal(signal.SIGSTOP)

    gone(stand, 4)
    stand.daemon.send_signal(signal.SIGCONT)
    assert ended(stand) == 1
    gone(stand, 0.1)


def test_a_service_manager_that_tells_all_processes_to_end_does_not_end_the_guardian_first(stand: Stand) -> None:
    stand.start_daemon(QUICKSTART, "--confirm", "1h")
    assert stand.daemon is not None
    os.kill(guardian(stand), signal.SIGTERM)
    assert attached(stand)

    stand.kill_daemon()

    gone(stand, 3)


def test_no_other_daemon_starts_before_the_guardian_is_done(stand: Stand) -> None:
    stand.start_daemon(QUICKSTART, "--confirm", "1h")
    waiting = guardian(stand)
    os.kill(waiting, signal.SIGSTOP)
    threading.Timer(1.5, os.kill, (waiting, signal.SIGCONT)).start()
    stand.kill_daemon()
    with (place(stand).run / "lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert attached(stand)

    stand.start_daemon(QUICKSTART)

    assert not stand.client.status()["start"]["adopted"]
    assert attached(stand)


def test_without_its_guardian_the_daemon_takes_the_program_off_itself(stand: Stand) -> None:
    stand.start_daemon(QUICKSTART, "--confirm", "1h")

    os.kill(guardian(stand), signal.SIGKILL)

    assert ended(stand) == 1
    assert "somebody ended the guardian of --confirm: eth0: the program is off" in stand.log.read_text()
    gone(stand, 0.1)


def guardian(stand: Stand) -> int:
    """Its pid."""
    assert stand.daemon is not None
    children = Path(f"/proc/{stand.daemon.pid}/task/{stand.daemon.pid}/children").read_text().split()
    (found,) = (pid for pid in children if b"xdplb.dataplane.undo" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return int(found)


@pytest.mark.parametrize("change", [OTHER_CODE, OTHER_TABLES], ids=["code", "tables"])
def test_an_upgrade_that_nobody_confirms_is_the_program_before_again(
    running: Stand, tmp_path: Path, change: dict[str, str]
) -> None:
    before, lay = attached(running), pins(running)
    spec = (place(running).run / "spec.json").read_text()
    running.kill_daemon()

    running.start_daemon(changed(tmp_path, **change), "--confirm", "2s")

    assert attached(running) != before
    assert running.client.status()["unconfirmed"]["then"] == "puts the program before back"
    assert lay < pins(running)
    assert ended(running) == 1
    assert "not confirmed within 2 s: eth0: the program before is back" in running.log.read_text()
    assert attached(running) == before
    assert pins(running) == lay
    assert (place(running).run / "spec.json").read_text() == spec
    running.start_daemon(QUICKSTART)
    assert running.client.status()["start"]["adopted"]
    assert attached(running) == before


def test_an_upgrade_that_is_confirmed_forgets_the_program_before(running: Stand, tmp_path: Path) -> None:
    before = attached(running)
    running.kill_daemon()
    running.start_daemon(changed(tmp_path, **OTHER_TABLES), "--confirm", "1h")

    running.client.confirm()

    assert attached(running) != before
    assert len([path for path in place(running).pins.iterdir() if path.is_dir() and path.name != "tunnel"]) == 1
    with pytest.raises(FileNotFoundError):
        os.close(syscall.open_program(*before.values()))


def test_another_mode_that_nobody_confirms_is_the_old_mode_again(running: Stand, tmp_path: Path) -> None:
    before = attached(running)
    running.kill_daemon()

    running.start_daemon(changed(tmp_path, balancer='mode = "generic"\n'), "--confirm", "2s")

    assert running.client.status()["interface"]["mode"] == "generic"
    assert ended(running) == 1
    assert attached(running) == before
    running.start_daemon(QUICKSTART)
    assert running.client.status()["interface"]["mode"] == "native"
    assert attached(running) == before


def test_a_start_that_fails_puts_everything_back(running: Stand, tmp_path: Path) -> None:
    before, lay = attached(running), pins(running)
    running.kill_daemon()

    with pytest.raises(DaemonError, match="refused XDP in offload mode"):
        running.start_daemon(changed(tmp_path, balancer='mode = "offload"\n'), "--confirm", "1h")

    assert attached(running) == before
    assert pins(running) == lay
