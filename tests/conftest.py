"""What is in `tests/kernel` and `tests/lab`, and whatever asks for a kernel fixture, needs root: marked here."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT_FOLDERS = ("kernel", "lab")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "root: needs root, an eBPF kernel and network namespaces")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        if item.path.relative_to(tests).parts[0] in ROOT_FOLDERS:
            item.add_marker(pytest.mark.root)
