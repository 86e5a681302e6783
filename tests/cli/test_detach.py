"""`xdplb detach`."""

from __future__ import annotations

from tools.lab.stand import Stand
from xdplb import state
from xdplb.dataplane import loader


def test_a_running_daemon_is_not_pulled_from_under(running: Stand) -> None:
    done = running.run("detach")
    assert done.returncode == 2
    assert done.stderr == f"xdplb: '{running.name}' is still running; stop it first\n"


def test_it_leaves_nothing_and_purge_forgets_the_state_too(running: Stand) -> None:
    running.kill_daemon()
    place = loader.Place(running.name)

    assert running.run("detach").stdout == f"{running.name}: detached from 1 interface(s)\n"
    assert not place.pins.exists()
    assert not place.run.exists()
    assert state.directory(running.name).exists()
    assert running.run("detach", "--purge").returncode == 0
    assert not state.directory(running.name).exists()
