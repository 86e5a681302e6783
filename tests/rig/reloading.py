"""One daemon for all tests of a module, on a file of its own, which every test begins with as the quickstart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rig.net import QUICKSTART
from tools.lab.stand import Stand

TEXT = QUICKSTART.read_text()
DNS = '[[service]]\nname = "dns"\nvips = ["10.9.9.9:53"]\nprotocol = "udp"\nbackends = [{ address = "10.0.11.2" }]\n'


@dataclass(slots=True)
class Reloading:
    """The daemon, its stand and its file."""

    stand: Stand
    file: Path

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
def module_daemon(stand_session: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloading]:
    """The daemon, from the first test of the module that wants it to the last."""
    found = Reloading(stand_session, tmp_path_factory.mktemp("reloading") / "xdplb.toml")
    found.file.write_text(TEXT)
    found.stand.start_daemon(found.file)
    for host in found.stand.lab.backends:
        found.stand.wait_state(host, "up")
    yield found
    found.stand.kill_daemon()
    found.stand.forget_balancer()


@pytest.fixture
def reloading(module_daemon: Reloading) -> Reloading:
    """The daemon with the quickstart in force."""
    module_daemon.begin_anew()
    return module_daemon
