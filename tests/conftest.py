"""Fixtures with a kernel behind them, and the mark on every test that needs one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.rig.xdp import SPEC, Xdp
from xdplb.dataplane import loader
from xdplb.dataplane.plane import SWITCHES

ROOT_FIXTURES = {"xdp", "xdp_session", "full", "place", "agent", "second", "second_lab", "play", "plain"}
ROOT_FIXTURES |= {"lab", "stand", "running", "traced", "served", "reloading", "box", "named", "run_folder"}
pytest_plugins = ["tests.rig.net", "tests.rig.reloading", "tests.rig.second", "tests.rig.servers"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "root: needs root, an eBPF kernel and network namespaces")
    config.addinivalue_line("markers", "alone: measures, so nothing else may run beside it")
    config.addinivalue_line("markers", "slow: takes seconds; part of `make test`, not of `make check`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab = Path(__file__).parent / "lab"
    for item in items:
        if lab in item.path.parents or ROOT_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.root)
        if "nginx" in getattr(item, "fixturenames", ()):  # `make check` does not fetch it
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def place() -> Iterator[loader.Place]:
    """A balancer's own pins and files, which are gone afterwards, with what was attached by them."""
    place = loader.Place(f"test-place-{os.getpid()}")
    place.make()
    yield place
    loader.detach(place)
    place.remove()


@pytest.fixture(scope="session")
def xdp_session() -> Iterator[Xdp]:
    """One compile of the whole program for all packet tests."""
    xdp = Xdp()
    yield xdp
    xdp.close()


@pytest.fixture(scope="session")
def full_session() -> Iterator[Xdp]:
    """The program with everything that there is compiled in."""
    switches: dict[str, Any] = {name: True for name in SWITCHES if name != "prefixes"}
    full = Xdp(replace(SPEC, **switches), f"test-full-{os.getpid()}")
    full.kernel.put_devices([1])  # what BPF_PROG_TEST_RUN says that a frame came in by
    yield full
    full.close()


@pytest.fixture(scope="session")
def traced_session() -> Iterator[Xdp]:
    """The program as somebody sees it who traces."""
    traced = Xdp(replace(SPEC, trace=True), f"test-traced-{os.getpid()}")
    yield traced
    traced.close()


@pytest.fixture
def traced(traced_session: Xdp) -> Xdp:
    """The program that traces, with empty tables."""
    traced_session.apply(())
    traced_session.forget()
    return traced_session


@pytest.fixture
def full(full_session: Xdp) -> Xdp:
    """The program that can do everything, with empty tables."""
    full_session.apply(())
    full_session.forget()
    return full_session


@pytest.fixture
def xdp(xdp_session: Xdp) -> Xdp:
    """The program with empty tables."""
    xdp_session.apply(())
    xdp_session.forget()
    return xdp_session
