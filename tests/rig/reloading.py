"""One daemon for as many tests as possible, on a file of its own; every test begins with the quickstart in force."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rig.net import QUICKSTART, end_daemon
from tools.lab.stand import Stand

TEXT = QUICKSTART.read_text()
DNS = '[[service]]\nname = "dns"\nvips = ["10.9.9.9:53"]\nprotocol = "udp"\nbackends = [{ address = "10.0.11.2" }]\n'


@dataclass(slots=True)
class Reloading:
    """The daemon, its stand and its file."""

    stand: Stand
    file: Path
    daemon: subprocess.Popen[str]  # that of the stand, unless another test has started its own

    @property
    def client(self) -> Any:
        """The daemon's API."""
        return self.stand.client

    def put(self, text: str) -> dict[str, Any]:
        """Write the file and have it taken up."""
        self.file.write_text(text)
        done: dict[str, Any] = self.client.reload()
        return done

    def begin_anew(self) -> None:
        """Have the quickstart in force, and nothing beside it."""
        self.client.confirm()
        self.put(TEXT)
        overrides = self.client.config()["overrides"]
        for service, name in overrides["draining"]:
            self.client.undrain_backend(name, service)
        for service, backends in overrides["added"].items():
            for backend in backends:
                self.client.remove_backend(backend["name"], service, now=True)
        for service, name, _ in overrides["weights"]:
            self.client.weigh_backend(name, service, 100)
        self.client.change_lists(dict.fromkeys(overrides["prefixes"]))


@pytest.fixture(scope="module")
def last(stand_session: Stand) -> Iterator[None]:
    """Tests of other files may want the network without a daemon."""
    yield
    end_daemon(stand_session)


@pytest.fixture
def reloading(last: None, stand_session: Stand, tmp_path_factory: pytest.TempPathFactory) -> Reloading:
    """The daemon with the quickstart in force: the one of the test before, as long as no other has been started."""
    found = _LAST.get(stand_session.name)
    if found is None or found.daemon is not stand_session.daemon or found.daemon.poll() is not None:
        found = _start(stand_session, tmp_path_factory.mktemp("reloading") / "xdplb.toml")
        _LAST[stand_session.name] = found
    found.begin_anew()
    return found


_LAST: dict[str, Reloading] = {}


def _start(stand: Stand, file: Path) -> Reloading:
    end_daemon(stand)
    file.write_text(TEXT)
    stand.start_daemon(file)
    for host in stand.lab.backends:
        stand.wait_state(host, "up", 20)
    assert stand.daemon is not None
    return Reloading(stand, file, stand.daemon)
