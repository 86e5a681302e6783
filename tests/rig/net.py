"""Lab fixtures: a network with everything in it, one per test session; each test leaves it as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.authority import Authority
from tools.lab.net import Lab
from tools.lab.stand import ROOT, Stand

ADMIN_PORT = 8443
QUICKSTART = ROOT / "examples/quickstart.toml"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The network: client, router, balancer, three backends."""
    with Lab(f"test-{os.getpid()}") as network:
        yield network


@pytest.fixture(scope="session")
def stand_session(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Stand:
    """The lab with agents and web servers on the backends."""
    stand = Stand(lab, tmp_path_factory.mktemp("stand") / "daemon.log")
    stand.start_backends(lab.backends)
    return stand


@pytest.fixture
def stand(stand_session: Stand) -> Iterator[Stand]:
    """Agents and web servers run, no daemon; whatever daemon the test leaves is ended and forgotten."""
    end_daemon(stand_session)  # `reloading` leaves its own for the next test of the file
    yield stand_session
    end_daemon(stand_session)
    for host, server in stand_session.servers.items():
        if server.poll() is not None:
            stand_session.start_server(host)


def end_daemon(stand: Stand) -> None:
    """End whatever daemon runs there, and forget its balancer."""
    if stand.daemon is not None and stand.daemon.poll() is None:
        stand.kill_daemon()
    stand.forget_balancer()


@pytest.fixture
def running(stand: Stand) -> Stand:
    """The real daemon with the quickstart, all backends up."""
    stand.start_daemon(QUICKSTART)
    for host in stand.lab.backends:
        stand.wait_state(host, "up")
    return stand


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """Where a test writes its own configuration."""
    return tmp_path / "xdplb.toml"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs certificates of the admin API."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def served(stand_session: Stand, signer: Authority) -> Iterator[Stand]:
    """The real daemon, for all tests of this file; `nobody` may read, and the signer's clients may come by TCP."""
    config = signer.folder / "xdplb.toml"
    config.write_text(f'{QUICKSTART.read_text()}\n{signer.table(ADMIN_PORT)}\nread = ["nobody"]\n')
    stand_session.start_daemon(config)
    for host in stand_session.lab.backends:
        stand_session.wait_state(host, "up")
    yield stand_session
    stand_session.kill_daemon()
    stand_session.forget_balancer()
