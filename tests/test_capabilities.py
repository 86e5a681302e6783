"""What this process lacks is said by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdplb import capabilities
from xdplb.errors import RefusedError

ALL = "000001ffffffffff"


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's word on a process, which a test may change."""
    for name, text in (("STATUS", f"Name:\tx\nCapEff:\t{ALL}\n"), ("UID_MAP", "         0          0 4294967295\n")):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(capabilities, name, tmp_path / name)
    return tmp_path


def lack(process: Path, *bits: int) -> list[str]:
    left = int(ALL, 16) & ~sum(1 << bit for bit in bits)
    (process / "STATUS").write_text(f"CapPrm:\t{ALL}\nCapEff:\t{left:016x}\n")
    return capabilities.missing()


def test_what_is_missing_is_named(process: Path) -> None:
    assert lack(process) == []
    assert lack(process, 12) == ["CAP_NET_ADMIN"]
    assert lack(process, 39, 38) == []  # CAP_SYS_ADMIN includes them
    assert lack(process, 21) == []
    assert lack(process, 21, 39) == ["CAP_BPF"]
    with pytest.raises(
        RefusedError, match=r"run lacks CAP_BPF, without which no XDP program is loaded; start it as root"
    ):
        capabilities.require("run")


def test_in_a_user_namespace_none_of_them_counts(process: Path) -> None:
    (process / "UID_MAP").write_text("         0       1000          1\n")
    assert capabilities.missing() == [*capabilities.NEEDED]
