"""systemd finds nothing wrong with the units, they may do little, and they say what the code needs."""

from __future__ import annotations

import difflib
import re
import shutil
from pathlib import Path

import pytest

from tools.systemd_check import UNITS, copy_units, exposure, verify
from xdplb.capabilities import NEEDED
from xdplb.dataplane.loader import BPFFS, RUN

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
SERVICES = sorted(unit.name for unit in UNITS.glob("*.service"))


def setting(unit: str, name: str) -> list[str]:
    """Return the words of a setting."""
    found = re.search(rf"^{name}=(.*)$", (UNITS / unit).read_text(), re.M)
    assert found, f"{unit} has no {name}"
    return found[1].split()


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    assert verify(copy_units(tmp_path)) == ""


def test_services_may_do_little(tmp_path: Path) -> None:
    for unit in copy_units(tmp_path):
        if unit.suffix == ".service":
            assert exposure(unit) < 3.0, unit.name


@pytest.mark.parametrize("unit", SERVICES)
def test_what_the_code_needs_is_allowed(unit: str) -> None:
    assert set(NEEDED) <= set(setting(unit, "CapabilityBoundingSet"))
    assert "CAP_SYS_ADMIN" not in setting(unit, "CapabilityBoundingSet")
    assert setting(unit, "ReadWritePaths") == [str(BPFFS)]
    assert setting(unit, "RuntimeDirectory") == [RUN.name]
    assert setting(unit, "RuntimeDirectoryPreserve") == ["yes"]  # a stop must not forget which tables are attached
    assert "bpf" in setting(unit, "SystemCallFilter")


def test_an_instance_differs_by_its_name_only() -> None:
    one, many = ((UNITS / name).read_text().splitlines() for name in ("xdplb.service", "xdplb@.service"))
    changed = [line for line in difflib.ndiff(one, many) if line.startswith("+ ")]
    assert [line[2:].split("=")[0] for line in changed if line[2] != "#"] == ["Description", "ExecStart"]


def test_the_socket_is_that_of_the_first_balancer() -> None:
    assert setting("xdplb.socket", "ListenStream") == [str(RUN / "main" / "admin.sock")]
