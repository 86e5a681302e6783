"""Fixtures with a kernel behind them, and the mark on every test that needs one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.xdp import Xdp

ROOT_FIXTURES = {"xdp", "xdp_session", "place", "agent", "lab", "stand", "running"}
pytest_plugins = ["tests.rig.net"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "root: needs root, an eBPF kernel and network namespaces")
    config.addinivalue_line("markers", "slow: takes seconds; part of `make test`, not of `make check`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab = Path(__file__).parent / "lab"
    for item in items:
        if lab in item.path.parents or ROOT_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def xdp_session() -> Iterator[Xdp]:
    """One compile of the whole program for all packet tests."""
    xdp = Xdp()
    yield xdp
    xdp.close()


@pytest.fixture
def xdp(xdp_session: Xdp) -> Xdp:
    """The program with empty tables."""
    xdp_session.apply(())
    xdp_session.forget()
    return xdp_session
