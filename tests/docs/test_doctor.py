"""docs/doctor.md names every check there is, with its severity and why it matters, in the same order."""

from __future__ import annotations

import re
from pathlib import Path

from xdplb.doctor.finding import CHECKS

PAGE = Path(__file__).resolve().parents[2] / "docs/doctor.md"
PACKAGE = Path(__file__).resolve().parents[2] / "xdplb/doctor"


def test_every_check_is_documented_as_it_is() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.+) \|$", PAGE.read_text(), re.M)
    assert rows == [(check, str(severity), why) for check, (severity, why) in CHECKS.items()]


def test_no_check_is_only_in_the_catalogue() -> None:
    code = "".join(path.read_text() for path in PACKAGE.glob("*.py") if path.name != "finding.py")
    assert not [check for check in CHECKS if f'"{check}"' not in code]
