"""Files and sockets of a daemon, there or not."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from pathlib import Path

from tests.rig.boxes import BACKENDS, CHECK, running
from xdplb.admin.client import Client
from xdplb.doctor import contact
from xdplb.doctor.facts import Running
from xdplb.model import Guard


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[balancer]")
    assert contact.read_file(tmp_path / "bad.toml") == (
        None,
        f"{tmp_path}/bad.toml: balancer.interface: missing; add it",
    )


def test_a_socket_with_nobody_behind_it_is_no_daemon_and_one_that_is_silent_is(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    assert contact.find_daemon(Client(path), 0.1) is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert contact.find_daemon(Client(path), 0.1) is None  # left behind by one that was killed
        listener.listen()
        found = contact.find_daemon(Client(path), 0.1)
        assert found
        assert not found.answers


def test_a_relative_path_is_relative_to_the_daemons_folder() -> None:
    daemon = running()
    status = {"config": {"path": "xdplb.toml"}, "pid": os.getpid()}
    assert contact.path_of(Running(daemon.socket, True, status)) == Path.cwd() / "xdplb.toml"
    assert contact.path_of(None) == contact.DEFAULT


def test_a_file_that_was_not_written_since_the_start_is_what_runs(tmp_path: Path) -> None:
    path, other = tmp_path / "xdplb.toml", tmp_path / "other.toml"
    for file in (path, other):
        file.write_text("")
        os.utime(file, (1000, 1000))
    status = {"config": {"path": str(path), "taken_up": 1000.5}, "pid": os.getpid()}
    assert contact.read_since(status, path)
    assert not contact.read_since(status, other)
    assert not contact.read_since({**status, "config": {"path": str(path), "taken_up": 999.5}}, path)
    assert not contact.read_since(status, tmp_path / "nothing.toml")


def test_who_failed_is_asked_at_the_port_that_was_asked() -> None:
    failed = {**CHECK, "up": False, "to": "[fd00::1]:8080"}
    portless = {**CHECK, "up": False, "to": "10.0.12.2"}
    backends = [{**b, "state": "down", "checks": [c]} for b, c in zip(BACKENDS, (failed, portless), strict=True)]
    asked = list(contact.doubtful(running(*backends).status))
    assert asked == [(ip_address("10.0.11.2"), 8080), (ip_address("10.0.12.2"), 7)]
    assert list(contact.doubtful(running().status)) == []


def test_tables_that_have_an_end() -> None:
    status = {"flows": {"remembered": 5, "room": 9}, "guard": {"blocked": 3, "allowed": 1}}
    flows, lists = contact.tables(status, Guard(max_prefixes=4))
    assert (flows.used, flows.room, lists.used, lists.room) == (5, 9, 4, 4)
